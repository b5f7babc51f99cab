//! pdsdoctor: the process around the library. Reads the command line, runs, prints, ends.

use std::{panic, path::PathBuf, process::ExitCode};

use pdsdoctor::{
    cli::{Check, Cli, Color, Command, ListWhat, Replay, Show, completions, man},
    diagnose,
    exit::Exit,
    explain, interrupt, panics, parse,
    progress::Progress,
    render::{self, style::Detail, style::Style},
    run,
    saved::{self, Later},
};
use pdsdoctor_probes::{record::Ended, record::Run, roots::Roots};

fn main() -> ExitCode {
    // Before anything is opened or started: this may be one of the helpers of `--with-node`.
    #[cfg(target_os = "linux")]
    if let Some(status) = pdsdoctor_probes::inside::helper() {
        return status.into();
    }
    panics::watch();
    let exit = match panic::catch_unwind(start) {
        Ok(Ok(exit)) => exit,
        Ok(Err((exit, message))) => {
            render::warn(&message);
            exit
        }
        Err(_) => Exit::Internal,
    };
    if panics::happened() { Exit::Internal.into() } else { exit.into() }
}

type Ending = Result<Exit, (Exit, String)>;

fn usage(message: String) -> (Exit, String) {
    (Exit::Usage, message)
}

fn internal(error: impl std::fmt::Display) -> (Exit, String) {
    (Exit::Internal, format!("cannot write the report: {error}"))
}

fn start() -> Ending {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are no errors; a closed pipe is none either.
            let _ = answer.print();
            return Ok(if answer.use_stderr() { Exit::Usage } else { Exit::Well });
        }
    };
    let style = |color: Color| Style::detect(color.into(), false, Detail::Normal);
    let text = match cli.command {
        Command::Check(check) => return run_check(&check),
        Command::Replay(replay) => return run_replay(&replay),
        Command::Explain(args) => explain::explain(&args.code, &style(args.color)).map_err(usage)?,
        Command::List(args) => match args.what {
            ListWhat::Probes => explain::list_probes(&style(args.color)),
            ListWhat::Causes => explain::list_causes(&style(args.color)),
        },
        Command::Completions(args) => completions(args.shell),
        Command::Man => man().map_err(internal)?,
    };
    render::print(&text).map_err(internal)?;
    Ok(Exit::Well)
}

fn open(path: Option<&PathBuf>) -> Result<Option<Later>, (Exit, String)> {
    path.map(|path| Later::open(path)).transpose().map_err(usage)
}

fn run_replay(replay: &Replay) -> Ending {
    let output = open(replay.show.output.as_ref())?;
    let run = saved::read(&replay.file).map_err(|why| usage(format!("{}: {why}", replay.file.display())))?;
    finish(&run, &replay.show, output)
}

fn run_check(check: &Check) -> Ending {
    let options = check.options().map_err(usage)?;
    let roots = Roots::load(parse::ca_certs(&check.ca_cert).map_err(usage)?);
    let save = open(check.save.as_ref())?;
    let output = open(check.show.output.as_ref())?;

    let unicode = Style::detect(check.show.color.into(), false, Detail::Normal).unicode;
    let progress = Progress::start(check.show.quiet, unicode);
    let observer = Progress::observer(progress.as_ref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let measured = runtime.block_on(async {
        tokio::select! {
            run = run::check(&options, roots, observer, stopped) => Some(run),
            () = interrupt::twice(stop) => None,
        }
    });
    // A getaddrinfo that hangs sits in a thread that nothing can stop: it must not hold up the end.
    runtime.shutdown_background();
    drop(progress);
    let Some(run) = measured else { return Ok(Exit::Interrupted) };

    let text = saved::to_json(&run).map_err(internal)?;
    let kept = save.map_or(Ok(()), |save| save.write(&text));
    // A full disk must not cost the report as well.
    let exit = finish(&run, &check.show, output)?;
    kept.map_err(usage)?;
    Ok(if run.ended == Ended::Interrupted { Exit::Interrupted } else { exit })
}

fn finish(run: &Run, show: &Show, output: Option<Later>) -> Ending {
    let diagnosis = diagnose::diagnose(run);
    let style = Style::detect(show.color.into(), output.is_some(), show.detail());
    let report = render::report(run, &diagnosis, show.format, &style);
    match output {
        Some(output) => output.write(&report).map_err(usage)?,
        None => render::print(&report).map_err(internal)?,
    }
    Ok(Exit::of(&diagnosis, show.fail_on))
}
