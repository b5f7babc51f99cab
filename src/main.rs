//! pdsdoctor: the process around the library. Reads the command line, runs, prints, ends.

use std::{panic, process::ExitCode};

use clap::Parser;
use pdsdoctor::{
    cli::{Check, Cli, Command, ListWhat, Replay, Show, completions, man},
    diagnose,
    exit::Exit,
    explain, parse,
    progress::Progress,
    render,
    render::style::{Detail, Style},
    run, saved,
};
use pdsdoctor_probes::{
    record::{Ended, Run},
    roots::Roots,
};
use tokio::sync::oneshot;

const REPORT_BUGS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues");

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        render::warn(&format!("internal error: {info}"));
        render::warn(&format!("this is a bug in pdsdoctor, not a finding; please report it: {REPORT_BUGS}"));
    }));
    match panic::catch_unwind(start) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err((exit, message))) => {
            render::warn(&message);
            exit.into()
        }
        Err(_) => Exit::Internal.into(),
    }
}

type Ending = Result<Exit, (Exit, String)>;

fn usage(message: String) -> (Exit, String) {
    (Exit::Usage, message)
}

fn internal(error: impl std::fmt::Display) -> (Exit, String) {
    (Exit::Internal, format!("cannot write the report: {error}"))
}

fn start() -> Ending {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are no errors; a closed pipe is none either.
            let _ = answer.print();
            return Ok(if answer.use_stderr() { Exit::Usage } else { Exit::Well });
        }
    };
    let style = |color| Style::detect(color, false, Detail::Normal);
    let text = match cli.command {
        Command::Check(check) => return run_check(&check),
        Command::Replay(replay) => return run_replay(&replay),
        Command::Explain(args) => explain::explain(&args.code, &style(args.color.into())).map_err(usage)?,
        Command::List(args) => match args.what {
            ListWhat::Probes => explain::list_probes(&style(args.color.into())),
            ListWhat::Causes => explain::list_causes(&style(args.color.into())),
        },
        Command::Completions(args) => completions(args.shell),
        Command::Man => man().map_err(internal)?,
    };
    render::print(&text).map_err(internal)?;
    Ok(Exit::Well)
}

fn run_replay(replay: &Replay) -> Ending {
    let output = replay.show.output.as_deref().map(saved::Later::open).transpose().map_err(usage)?;
    let run = saved::read(&replay.file).map_err(|why| usage(format!("{}: {why}", replay.file.display())))?;
    finish(&run, &replay.show, output)
}

fn run_check(check: &Check) -> Ending {
    let options = check.options().map_err(usage)?;
    let roots = Roots::load(parse::ca_certs(&check.ca_cert).map_err(usage)?);
    let save = check.save.as_deref().map(saved::Later::open).transpose().map_err(usage)?;
    let output = check.show.output.as_deref().map(saved::Later::open).transpose().map_err(usage)?;

    let unicode = Style::detect(check.show.color.into(), false, Detail::Normal).unicode;
    let progress = Progress::start(check.show.quiet, unicode);
    let observer = Progress::observer(progress.as_ref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    let (stop, stopped) = oneshot::channel();
    let measured = runtime.block_on(async {
        tokio::select! {
            run = run::check(&options, roots, observer, stopped) => Some(run),
            () = interrupts(stop) => None,
        }
    });
    // A getaddrinfo that hangs sits in a thread that nothing can stop: it must not hold up the end.
    runtime.shutdown_background();
    drop(progress);
    let Some(run) = measured else { return Ok(Exit::Interrupted) };

    if let Some(save) = save {
        save.write(&saved::to_json(&run).map_err(internal)?).map_err(usage)?;
    }
    let exit = finish(&run, &check.show, output)?;
    Ok(if run.ended == Ended::Interrupted { Exit::Interrupted } else { exit })
}

/// The first Ctrl-C asks for the partial report; this returns at the second, which waits for nothing.
async fn interrupts(stop: oneshot::Sender<()>) {
    let ctrl_c = || async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the system's own ending applies.
            std::future::pending::<()>().await;
        }
    };
    ctrl_c().await;
    let _ = stop.send(());
    ctrl_c().await;
}

fn finish(run: &Run, show: &Show, output: Option<saved::Later>) -> Ending {
    let diagnosis = diagnose::diagnose(run);
    let style = Style::detect(show.color.into(), output.is_some(), show.detail());
    let report = render::report(run, &diagnosis, show.format, &style);
    match output {
        Some(output) => output.write(&report).map_err(usage)?,
        None => render::print(&report).map_err(internal)?,
    }
    Ok(Exit::of(&diagnosis, show.fail_on))
}
