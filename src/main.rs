//! pdsdoctor: the process around the library. Reads the command line, runs, prints, ends.

use std::{
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
};

use pdsdoctor::{
    cli::{self, Check, Cli, Color, Command, ListWhat, Replay, Show, completions, man},
    diagnose,
    exit::Exit,
    explain,
    interrupt::Signals,
    output::{self, Later},
    panics, parse,
    progress::Progress,
    render::{
        self,
        style::{ColorWish, Detail, Style},
    },
    run, saved,
};
use pdsdoctor_probes::{own, record::Ended, record::Run, roots::Roots};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    // Before anything is opened or started: this may be one of the helpers of `--with-node`.
    #[cfg(target_os = "linux")]
    if let Some(status) = pdsdoctor_probes::inside::helper() {
        return status.into();
    }
    panics::watch();
    if let Err(why) = own::enough_stack() {
        render::warn(&why);
        return Exit::Inconclusive.into();
    }
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
    let style = |color: Color| Style::detect(color.into(), false, Detail::Normal);
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are no errors; a closed pipe is none either.
            if answer.use_stderr() {
                cli::complain(&answer);
                return Ok(Exit::Usage);
            }
            let text = answer.render();
            let shown = if Style::detect(ColorWish::Auto, false, Detail::Normal).color {
                text.ansi().to_string()
            } else {
                text.to_string()
            };
            put(None, &shown)?;
            return Ok(Exit::Well);
        }
    };
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
    put(None, &text)?;
    Ok(Exit::Well)
}

fn open(path: Option<&PathBuf>) -> Result<Option<Later>, (Exit, String)> {
    path.map(|path| Later::open(path)).transpose().map_err(usage)
}

fn run_replay(replay: &Replay) -> Ending {
    let output = open(replay.show.output.as_ref())?;
    output::distinct(None, output.as_ref(), &[("FILE", &replay.file)]).map_err(usage)?;
    let run = saved::read(&replay.file).map_err(|why| usage(format!("{}: {why}", replay.file.display())))?;
    let (report, exit) = judge(&run, &replay.show, output.is_some());
    put(output, &report)?;
    Ok(exit)
}

fn run_check(check: &Check) -> Ending {
    let options = check.options().map_err(usage)?;
    own::enough().map_err(|why| (Exit::Inconclusive, why))?;
    let roots = Roots::load(parse::ca_certs(&check.ca_cert, options.timeout).map_err(usage)?);
    for problem in &roots.problems {
        render::warn(problem);
    }
    let save = open(check.save.as_ref())?;
    let output = open(check.show.output.as_ref())?;
    let mut read: Vec<(&str, &Path)> = check.ca_cert.iter().map(|file| ("--ca-cert", file.as_path())).collect();
    read.extend(options.log.as_deref().map(|file| ("--log", file)));
    read.extend(options.env_file.as_deref().map(|file| ("--env-file", file)));
    output::distinct(save.as_ref(), output.as_ref(), &read).map_err(usage)?;

    let unicode = Style::detect(check.show.color.into(), false, Detail::Normal).unicode;
    let progress = Progress::start(check.show.quiet, unicode);
    let observer = Progress::observer(progress.as_ref());
    let runtime = runtime()?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let measured = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(this_side)?;
        Ok::<_, (Exit, String)>(tokio::select! {
            run = run::check(&options, roots, observer, stopped) => Some(run),
            () = signals.twice(stop) => None,
        })
    });
    // Listened to before the other ends: no signal falls between the two.
    let writing = Writing::start();
    // A getaddrinfo that hangs sits in a thread that nothing can stop: it must not hold up the end.
    runtime.shutdown_background();
    drop(progress);
    let Some(run) = measured? else { return Ok(Exit::Interrupted) };

    let text = saved::to_json(&run).map_err(internal)?;
    let (report, exit) = judge(&run, &check.show, output.is_some());
    let interrupted = run.ended == Ended::Interrupted;
    let written = writing.wait(move || {
        let kept = save.map_or(Ok(()), |save| save.write(&text).map_err(usage));
        // A full disk must not cost the report as well.
        put(output, &report).and(kept)
    });
    match written {
        Some(done) => done?,
        // Nobody reads, and the user does not want to wait for them.
        None => return Ok(Exit::Interrupted),
    }
    Ok(if interrupted { Exit::Interrupted } else { exit })
}

fn runtime() -> Result<Runtime, (Exit, String)> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(this_side)
}

/// This machine lets the program have too little: nothing is said about the PDS.
fn this_side(error: std::io::Error) -> (Exit, String) {
    (Exit::Inconclusive, format!("this machine cannot measure: {error}"))
}

/// The writing of what was measured, which a signal ends: who stopped reading must not keep the program from ending.
struct Writing(Option<(Runtime, Signals)>);

impl Writing {
    fn start() -> Self {
        let ready = runtime().ok().and_then(|runtime| {
            let signals = runtime.block_on(async { Signals::listen() }).ok()?;
            Some((runtime, signals))
        });
        Self(ready)
    }

    /// Does `work`; `None`: a signal came first.
    fn wait<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let Some((runtime, mut signals)) = self.0 else { return Some(work()) };
        let (tell, told) = tokio::sync::oneshot::channel();
        let (give, given) = std::sync::mpsc::channel();
        let body = move || {
            // Nobody waits any more where a signal came.
            if let Ok(work) = given.recv() {
                let work: Box<dyn FnOnce() -> T + Send> = work;
                let _ = tell.send(work());
            }
        };
        let work: Box<dyn FnOnce() -> T + Send> = Box::new(work);
        if std::thread::Builder::new().name("writing".to_owned()).spawn(body).is_err() {
            // Without a thread it cannot be interrupted, and that is all.
            return Some(work());
        }
        let _ = give.send(work);
        runtime.block_on(async {
            tokio::select! {
                done = told => done.ok(),
                () = signals.next() => None,
            }
        })
    }
}

/// The report and what the exit status will be.
fn judge(run: &Run, show: &Show, to_a_file: bool) -> (String, Exit) {
    let diagnosis = diagnose::diagnose(run);
    let style = Style::detect(show.color.into(), to_a_file, show.detail());
    (render::report(run, &diagnosis, show.format, &style), Exit::of(&diagnosis, show.fail_on))
}

fn put(output: Option<Later>, report: &str) -> Result<(), (Exit, String)> {
    match output {
        Some(output) => output.write(report).map_err(usage),
        None => render::print(report).map_err(|error| usage(format!("cannot write to standard output: {error}"))),
    }
}
