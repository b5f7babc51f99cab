//! Saved runs: what `--save` writes and `replay` reads. The file may be anybody's.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use pdsdoctor_probes::record::{RUN_SCHEMA, Run};

/// More facts than this no run measures (a hundred are usual); judging looks some up one by one.
const MOST_FACTS: usize = 2_000;

/// The largest run that is read. A run with every list at its limit stays under 4 MiB.
pub const SIZE_LIMIT: u64 = 32 * 1024 * 1024;

/// Reads a saved run; `-` is standard input.
pub fn read(path: &Path) -> Result<Run, String> {
    let bytes = if path == Path::new("-") { bounded(io::stdin().lock()) } else { File::open(path).and_then(bounded) }
        .map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else {
        return Err(format!("larger than {} MiB: no saved run", SIZE_LIMIT / 1024 / 1024));
    };
    parse(&bytes)
}

fn bounded(source: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= SIZE_LIMIT).then_some(bytes))
}

/// Reads the text of a saved run. The form is looked at first, so that another kind of file is told
/// from a damaged one.
pub fn parse(bytes: &[u8]) -> Result<Run, String> {
    #[derive(serde::Deserialize)]
    struct Form {
        schema: Option<String>,
    }
    let form: Form = serde_json::from_slice(bytes).map_err(|error| format!("not a JSON object of a run: {error}"))?;
    let schema = form.schema.unwrap_or_default();
    if schema != RUN_SCHEMA {
        return Err(match schema.split_once("/v") {
            Some(("pdsdoctor/run", version)) if version.parse::<u32>().is_ok() => {
                format!("written by a newer pdsdoctor (run format {version}); this one reads {RUN_SCHEMA}")
            }
            Some(("pdsdoctor/report", _)) => {
                "a report, not a saved run; `pdsdoctor check TARGET --save FILE` writes one".to_owned()
            }
            _ => format!("not a saved run: its \"schema\" is not {RUN_SCHEMA:?}"),
        });
    }
    let mut run: Run = serde_json::from_slice(bytes).map_err(|error| format!("a damaged saved run: {error}"))?;
    if run.facts.len() > MOST_FACTS {
        return Err(format!("{} facts; a run has no more than {MOST_FACTS}", run.facts.len()));
    }
    // A file edited by hand must not break what judging relies on: order and distinct ids.
    run.put_in_order();
    Ok(run)
}

/// A run as it is saved.
pub fn to_json(run: &Run) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(run)?;
    text.push('\n');
    Ok(text)
}

/// A file that will be written at the end. Opened before anything is measured, so that a wrong path
/// costs no run; what it held before stays until there is something to put in its place.
pub struct Later {
    file: File,
    path: PathBuf,
    /// It did not exist before and has nothing in it yet.
    fresh: bool,
}

impl Later {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let fresh = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        match file {
            Ok(file) => Ok(Self { file, path: path.to_owned(), fresh }),
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
        }
    }

    /// Writes it.
    pub fn write(mut self, text: &str) -> Result<(), String> {
        let done = || -> io::Result<()> {
            // Devices and pipes cannot be cut or wound back.
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
                self.file.rewind()?;
            }
            self.file.write_all(text.as_bytes())?;
            self.file.flush()
        }();
        self.fresh = false;
        done.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        if self.fresh {
            // The run was given up: no empty file is left behind.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
