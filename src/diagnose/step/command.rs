//! A command to paste: the program's own text, and words from elsewhere that are quoted.

use std::fmt;

use super::name::{
    ContainerName, Did, Foreign, HostName, InterfaceName, Name, NetworkFile, NodeFlag, PlainPath, UnitName, Url,
};

/// A piece of a command, of a word or of a line: the program's own text, or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Written in this program.
    Own(&'static str),
    /// Written elsewhere, and checked.
    Foreign(String),
    /// What should stand here is no name: what it is part of is not to be pasted.
    Missing,
}

impl Piece {
    fn text(&self) -> &str {
        match self {
            Self::Own(text) => text,
            Self::Foreign(text) => text,
            Self::Missing => "",
        }
    }
}

/// What may be a piece of a word.
pub trait IntoPiece {
    /// The piece.
    fn piece(self) -> Piece;
}

/// What may be a piece of a line in a file as well, where nothing is quoted: only what has a grammar.
pub trait IntoPlain: IntoPiece {}

impl IntoPiece for &'static str {
    fn piece(self) -> Piece {
        Piece::Own(self)
    }
}

impl IntoPlain for &'static str {}

/// Names in their order.
impl<T: Name> IntoPiece for &[T] {
    fn piece(self) -> Piece {
        Piece::Foreign(self.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }
}

impl<T: Name> IntoPlain for &[T] {}

impl<T: IntoPiece> IntoPiece for Option<T> {
    fn piece(self) -> Piece {
        self.map_or(Piece::Missing, T::piece)
    }
}

impl<T: IntoPlain> IntoPlain for Option<T> {}

macro_rules! pieces {
    ($($name:ty)*) => {$(
        impl IntoPiece for $name {
            fn piece(self) -> Piece {
                Piece::Foreign(self.to_string())
            }
        }

        impl IntoPiece for &$name {
            fn piece(self) -> Piece {
                Piece::Foreign(self.to_string())
            }
        }
    )*};
}

macro_rules! plain {
    ($($name:ty)*) => {$(
        impl IntoPlain for $name {}
        impl IntoPlain for &$name {}
    )*};
}

pieces! {
    u8 u16 u32 u64 i64 usize std::net::IpAddr
    HostName UnitName InterfaceName ContainerName NetworkFile PlainPath Did NodeFlag Url Foreign
}
plain! {
    u8 u16 u32 u64 i64 usize std::net::IpAddr
    HostName UnitName InterfaceName ContainerName NetworkFile PlainPath Did NodeFlag
}

/// One word of a command, quoted where a shell would make more of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(Vec<Piece>);

impl Word {
    /// A word of these pieces, without anything between them.
    pub fn of(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self(pieces.into_iter().collect())
    }

    fn text(&self) -> String {
        self.0.iter().map(Piece::text).collect()
    }

    /// It begins with foreign text that a program would take for an option, or is not there.
    fn is_unfit(&self) -> bool {
        let option = matches!(self.0.first(), Some(Piece::Foreign(text)) if text.starts_with('-'));
        option || self.0.contains(&Piece::Missing)
    }
}

/// A part of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Words, pipes and redirections that are written in this program.
    Own(&'static str),
    /// A word with something from elsewhere in it.
    Word(Word),
}

/// What may be a part of a command.
pub trait IntoPart {
    /// The part.
    fn part(self) -> Part;
}

impl IntoPart for &'static str {
    fn part(self) -> Part {
        Part::Own(self)
    }
}

impl IntoPart for Word {
    fn part(self) -> Part {
        Part::Word(self)
    }
}

macro_rules! words {
    ($($name:ty)*) => {$(
        impl IntoPart for $name {
            fn part(self) -> Part {
                Part::Word(Word::of([self.piece()]))
            }
        }

        impl IntoPart for &$name {
            fn part(self) -> Part {
                Part::Word(Word::of([self.piece()]))
            }
        }

        impl IntoPart for Option<$name> {
            fn part(self) -> Part {
                Part::Word(Word::of([self.piece()]))
            }
        }
    )*};
}

words! {
    u8 u16 u32 u64 i64 usize std::net::IpAddr
    HostName UnitName InterfaceName ContainerName NetworkFile PlainPath Did NodeFlag Url Foreign
}

/// A command to paste into a shell of the POSIX family (bash, dash, zsh): one line of printable ASCII.
///
/// It is made of parts with blanks between them: text of this program's own, which cannot be made at run time, and
/// words from elsewhere, which are quoted. There is no way from a `String` to a command:
///
/// ```compile_fail
/// let host = String::from("pds.example.com; id");
/// pdsdoctor::command!["dig", host.as_str()];
/// ```
///
/// ```compile_fail
/// let host = "pds.example.com; id";
/// pdsdoctor::diagnose::step::run(format!("dig {host}"));
/// ```
///
/// ```
/// use pdsdoctor::{command, diagnose::step::HostName};
/// assert_eq!(command!["dig", HostName::new("pds.example.com")].unwrap().to_string(), "dig pds.example.com");
/// assert_eq!(command!["dig", HostName::new("pds.example.com; id")], None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(Vec<Part>);

impl Command {
    /// A command of these parts. `None`: something that belongs in it is no name, so that there is nothing to paste.
    pub fn of(parts: impl IntoIterator<Item = Part>) -> Option<Self> {
        let parts: Vec<Part> = parts.into_iter().collect();
        let unfit = |part: &Part| matches!(part, Part::Word(word) if word.is_unfit());
        (!parts.iter().any(unfit)).then_some(Self(parts))
    }

    /// A command that is written in this program as a whole.
    pub fn own(text: &'static str) -> Self {
        Self(vec![Part::Own(text)])
    }

    /// The same with more behind it.
    #[must_use]
    pub fn with(mut self, part: impl IntoPart) -> Option<Self> {
        self.0.push(part.part());
        Self::of(self.0)
    }

    /// An option with its value, in two words, or in one where the value could be an option itself.
    #[must_use]
    pub fn option(self, name: &'static str, attached: &'static str, value: Foreign) -> Option<Self> {
        // What begins with a hyphen is no `Foreign`; of the others some programs know `@file` and `=` by themselves.
        let plain = value.to_string().starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
        if plain { self.with(name)?.with(value) } else { self.with(Word::of([attached.piece(), value.piece()])) }
    }

    /// Its parts, for those who look whether a shell sees the same.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, Option<String>)> {
        self.0.iter().map(|part| match part {
            Part::Own(text) => (*text, None),
            Part::Word(word) => ("", Some(word.text())),
        })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            match part {
                Part::Own(text) => write!(f, "{gap}{text}")?,
                Part::Word(word) => write!(f, "{gap}{}", quoted(&word.text()))?,
            }
        }
        Ok(())
    }
}

impl From<&'static str> for Command {
    fn from(text: &'static str) -> Self {
        Self::own(text)
    }
}

/// A word as a shell has to be given it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@:/._-%+=,".contains(c);
    // zsh takes `=name` for the path of a command.
    let first = |c: char| c.is_ascii_alphanumeric() || "@:/._-".contains(c);
    if text.starts_with(first) && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A word of pieces: the program's own text and names.
#[macro_export]
macro_rules! word {
    ($($piece:expr),+ $(,)?) => {
        $crate::diagnose::step::Word::of([$($crate::diagnose::step::IntoPiece::piece($piece)),+])
    };
}

/// A command of parts with blanks between them; `None` where something in it is no name.
#[macro_export]
macro_rules! command {
    ($($part:expr),+ $(,)?) => {
        $crate::diagnose::step::Command::of([$($crate::diagnose::step::IntoPart::part($part)),+])
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_become_a_command() {
        let shown = |text: &str| command!["echo", Foreign::new(text)].map(|command| command.to_string());
        assert_eq!(shown("https://pds.example/a").as_deref(), Some("echo https://pds.example/a"));
        assert_eq!(shown("a; rm -rf ~").as_deref(), Some("echo 'a; rm -rf ~'"));
        assert_eq!(shown("it's").as_deref(), Some(r"echo 'it'\''s'"));
        assert_eq!(shown("$(x)").as_deref(), Some("echo '$(x)'"));
        assert_eq!(shown("=ls").as_deref(), Some("echo '=ls'"));
        assert_eq!(shown("--save"), None);
        assert_eq!(command!["sudo systemctl restart", UnitName::new("x;id>pwned;.service")], None);
    }

    #[test]
    fn a_word_of_pieces_is_one_word() {
        let host = HostName::new("pds.example.com");
        let line = command!["echo", word!["127.0.0.1 ", host], "| sudo tee -a /etc/hosts"].expect("it fits");
        assert_eq!(line.to_string(), "echo '127.0.0.1 pds.example.com' | sudo tee -a /etc/hosts");
        let parts: Vec<_> = line.parts().collect();
        assert_eq!(parts[1], ("", Some("127.0.0.1 pds.example.com".to_owned())));
        // A flag of Node's is a word only behind something of our own.
        let flag = NodeFlag::new("--no-warnings");
        assert!(command!["node", flag.clone()].is_none() && command!["node", word!["--flag=", flag]].is_some());
    }

    #[test]
    fn an_option_keeps_its_value() {
        let with = |value: &str| {
            let value = Foreign::new(value)?;
            Command::own("pdsdoctor check").option("--client-id", "--client-id=", value).map(|it| it.to_string())
        };
        assert_eq!(with("https://a/?a&b").as_deref(), Some("pdsdoctor check --client-id 'https://a/?a&b'"));
        assert_eq!(with("@x").as_deref(), Some("pdsdoctor check --client-id=@x"));
        assert_eq!(with("-x"), None);
    }
}
