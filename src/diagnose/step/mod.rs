//! Steps of a remedy. What is to be pasted is made of text that is written in this program and of names that have
//! passed their grammar; nothing of it can be made by formatting a string. So no renderer has to guess what is a
//! command, and foreign text never becomes one.

mod again;
mod command;
mod name;

use std::fmt;

use pdsdoctor_probes::text::Text;

pub use again::{Needs, again, measure_again, needs};
pub use command::{Command, IntoPart, IntoPiece, IntoPlain, Part, Piece, Word};
pub use name::{
    ContainerName, Did, Foreign, HostName, InterfaceName, Name, NetworkFile, NodeFlag, PlainPath, UnitName, Url,
};

pub use crate::{command, entry, prose, word};

/// A line of a file or of a zone: written in this program, with names in it, and nothing else:
///
/// ```compile_fail
/// pdsdoctor::entry!["server_name ", String::from("a;} b").as_str(), ";"];
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    /// A line of these pieces, without anything between them. `None`: something that belongs in it is no name.
    pub fn of(pieces: impl IntoIterator<Item = Piece>) -> Option<Self> {
        let mut line = String::new();
        for piece in pieces {
            match piece {
                Piece::Own(text) => line.push_str(text),
                Piece::Foreign(text) => line.push_str(&text),
                Piece::Missing => return None,
            }
        }
        Some(Self(line))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Line {
    fn from(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

/// A sentence, or a part of one: nothing to paste. Foreign text in it stands between quotation marks.
///
/// ```compile_fail
/// let program = "x`id`";
/// pdsdoctor::diagnose::step::say(format!("stop {program}"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prose(String);

impl Prose {
    /// Prose of these pieces, without anything between them.
    pub fn of(pieces: impl IntoIterator<Item = String>) -> Self {
        Self(pieces.into_iter().collect())
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same with more behind it.
    #[must_use]
    pub fn with(mut self, words: &'static str) -> Self {
        self.0.push_str(words);
        self
    }
}

impl std::ops::Deref for Prose {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Prose {
    fn from(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

/// What may be a part of prose.
pub trait IntoProse {
    /// As it stands there.
    fn prose(self) -> String;
}

impl IntoProse for &'static str {
    fn prose(self) -> String {
        self.to_owned()
    }
}

/// Foreign text in prose.
pub struct Quoted<'a>(&'a str);

/// Foreign text in prose: a name stands as it is, anything else between quotation marks and without the characters that
/// mean something to a shell, so that nobody takes it for something to paste.
pub fn quoted(text: &str) -> Quoted<'_> {
    Quoted(text)
}

/// So much of a foreign text is enough to know it again.
const QUOTED: usize = 100;

impl IntoProse for Quoted<'_> {
    fn prose(self) -> String {
        let name = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        if !self.0.is_empty() && self.0.len() <= QUOTED && !self.0.starts_with('-') && self.0.chars().all(name) {
            return self.0.to_owned();
        }
        let harmless = |c: char| c.is_alphanumeric() || " ._:/@=,+-…".contains(c);
        let safe: String = Text::limited(self.0, QUOTED).chars().map(|c| if harmless(c) { c } else { '·' }).collect();
        format!("“{safe}”")
    }
}

/// Words of this program's that were put together at run time.
pub struct Told<'a>(&'a str);

/// Words of this program's that were put together at run time (a list, what comes of a remedy): they stand without
/// quotation marks, and without what only a shell has a use for.
pub fn told(words: &str) -> Told<'_> {
    Told(words)
}

impl IntoProse for Told<'_> {
    fn prose(self) -> String {
        let shells = |c: char| "$`|&<>\\;*?{}~#!".contains(c);
        Text::limited(self.0, usize::MAX).chars().map(|c| if shells(c) { '·' } else { c }).collect()
    }
}

macro_rules! in_prose {
    ($($name:ty)*) => {$(
        impl IntoProse for $name {
            fn prose(self) -> String {
                self.to_string()
            }
        }
    )*};
}

in_prose!(u8 u16 u32 u64 i64 usize std::net::IpAddr &HostName &UnitName &InterfaceName &ContainerName &Url &Command);

/// A line of a file or of a zone; `None` where something in it is no name.
#[macro_export]
macro_rules! entry {
    ($($piece:expr),+ $(,)?) => {
        $crate::diagnose::step::Line::of([$($crate::diagnose::step::plain($piece)),+])
    };
}

/// A sentence with names, numbers and quoted foreign text in it.
#[macro_export]
macro_rules! prose {
    ($($piece:expr),+ $(,)?) => {
        $crate::diagnose::step::Prose::of([$($crate::diagnose::step::IntoProse::prose($piece)),+])
    };
}

/// A piece for a place where nothing is quoted.
#[doc(hidden)]
pub fn plain(piece: impl IntoPlain) -> Piece {
    piece.piece()
}

/// One step of a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A command to paste into a shell.
    Run {
        /// The command.
        command: Command,
        /// What to look for, or what it does.
        note: Option<Prose>,
    },
    /// Lines to write somewhere.
    Write {
        /// Where, if the lines do not say so themselves or the note does.
        place: Option<Prose>,
        /// What, a line each.
        lines: Vec<Line>,
        /// What else to know.
        note: Option<Prose>,
    },
    /// Something to do.
    Do(Prose),
}

/// What stands for a command or a line that is left out.
const LEFT_OUT: &str =
    "what belongs here is left out: a name in it, as it was given, is none that may stand in a line to paste";

/// What is, or may be, a command.
pub trait IntoCommand {
    /// The command, unless a name in it is none.
    fn command(self) -> Option<Command>;
}

impl IntoCommand for &'static str {
    fn command(self) -> Option<Command> {
        Some(Command::own(self))
    }
}

impl IntoCommand for Command {
    fn command(self) -> Option<Command> {
        Some(self)
    }
}

impl IntoCommand for Option<Command> {
    fn command(self) -> Option<Command> {
        self
    }
}

/// What is, or may be, a line.
pub trait IntoLine {
    /// The line, unless a name in it is none.
    fn line(self) -> Option<Line>;
}

impl IntoLine for &'static str {
    fn line(self) -> Option<Line> {
        Some(self.into())
    }
}

impl IntoLine for Line {
    fn line(self) -> Option<Line> {
        Some(self)
    }
}

impl IntoLine for Option<Line> {
    fn line(self) -> Option<Line> {
        self
    }
}

/// A command.
pub fn run(command: impl IntoCommand) -> Step {
    run_or(command, LEFT_OUT)
}

/// A command, or what is to be done, in words, where it cannot be printed.
pub fn run_or(command: impl IntoCommand, otherwise: impl Into<Prose>) -> Step {
    match command.command() {
        Some(command) => Step::Run { command, note: None },
        None => Step::Do(otherwise.into()),
    }
}

/// A command about the containers of a compose file, which Docker looks for in the folder where it is asked.
pub fn compose(command: &'static str) -> Step {
    run(command).note("in the folder of compose.yaml")
}

/// A line to write somewhere.
pub fn write(line: impl IntoLine) -> Step {
    write_or(line, LEFT_OUT)
}

/// A line to write somewhere, or what is to be written, in words, where it cannot be printed.
pub fn write_or(line: impl IntoLine, otherwise: impl Into<Prose>) -> Step {
    match line.line() {
        Some(line) => Step::Write { place: None, lines: vec![line], note: None },
        None => Step::Do(otherwise.into()),
    }
}

/// Lines to write somewhere.
pub fn write_all<L: IntoLine>(lines: impl IntoIterator<Item = L>) -> Step {
    match lines.into_iter().map(IntoLine::line).collect() {
        Some(lines) => Step::Write { place: None, lines, note: None },
        None => Step::Do(LEFT_OUT.into()),
    }
}

/// Something to do.
pub fn say(words: impl Into<Prose>) -> Step {
    Step::Do(words.into())
}

impl Step {
    /// What to look for, what it does, what else to know.
    #[must_use]
    pub fn note(mut self, words: impl Into<Prose>) -> Self {
        if let Self::Run { note, .. } | Self::Write { note, .. } = &mut self {
            *note = Some(words.into());
        }
        self
    }

    /// Where the lines go.
    #[must_use]
    pub fn at(mut self, words: impl Into<Prose>) -> Self {
        if let Self::Write { place, .. } = &mut self {
            *place = Some(words.into());
        }
        self
    }

    /// Without an account of kinds: lines as the JSON report has them, with places before and notes behind.
    pub fn flat(&self) -> Vec<String> {
        let behind = |note: &Option<Prose>| note.as_ref().map(|note| format!("     # {note}")).unwrap_or_default();
        match self {
            Self::Run { command, note } => vec![format!("{command}{}", behind(note))],
            Self::Do(words) => vec![words.to_string()],
            Self::Write { place, lines, note } => {
                let mut flat: Vec<String> = lines.iter().map(ToString::to_string).collect();
                match (place, flat.as_mut_slice()) {
                    (Some(place), [line]) => *line = format!("{place}:  {line}"),
                    (Some(place), _) => flat.insert(0, format!("{place}:")),
                    (None, _) => {}
                }
                if let Some(last) = flat.last_mut() {
                    last.push_str(&behind(note));
                }
                flat
            }
        }
    }
}

/// Steps as the JSON report has them.
pub fn flat(steps: &[Step]) -> Vec<String> {
    steps.iter().flat_map(Step::flat).collect()
}

/// The measurement that would settle something: in words, or by commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    before: Prose,
    commands: Vec<Command>,
    after: Prose,
}

impl Settle {
    /// By a command; in words where it cannot be printed.
    pub fn run(command: impl IntoCommand) -> Self {
        Self::text("").and(command)
    }

    /// In words, which are nothing to paste.
    pub fn text(words: impl Into<Prose>) -> Self {
        Self { before: words.into(), commands: Vec::new(), after: "".into() }
    }

    /// And by a command.
    #[must_use]
    pub fn and(mut self, command: impl IntoCommand) -> Self {
        match command.command() {
            Some(command) => self.commands.push(command),
            None => {
                self.after = "(the command is left out: a name in it is none that may stand in a line to paste)".into();
            }
        }
        self
    }

    /// What else belongs to the measurement.
    #[must_use]
    pub fn then(mut self, words: impl Into<Prose>) -> Self {
        let mut words: Prose = words.into();
        if !self.after.is_empty() {
            words.0 = format!("{words} {}", self.after);
        }
        self.after = words;
        self
    }

    /// The words around the commands.
    pub fn words(&self) -> (&str, &str) {
        (self.before.as_str(), self.after.as_str())
    }

    /// The commands.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }
}

impl fmt::Display for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands = self.commands.iter().map(ToString::to_string).collect::<Vec<_>>().join(", beside ");
        // `, and then` follows what it is about at once.
        let gap = if self.after.starts_with([',', ';', '.']) || self.after.is_empty() { "" } else { " " };
        let parts = [self.before.as_str(), commands.as_str()];
        let start = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        write!(f, "{start}{}{}", if start.is_empty() { "" } else { gap }, self.after)
    }
}

impl From<&'static str> for Settle {
    fn from(words: &'static str) -> Self {
        Self::text(words)
    }
}

impl From<Prose> for Settle {
    fn from(words: Prose) -> Self {
        Self::text(words)
    }
}
