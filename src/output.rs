//! Files that are written at the end: `--output` and `--save`.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use pdsdoctor_probes::files;

/// A device or a pipe that takes nothing for this long is given up: a report must not hold up a script for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that will be written at the end. It is looked at before anything is measured, so that a wrong path costs no
/// run; what it held before stays until there is something to put in its place, however the program ends.
pub struct Later {
    path: PathBuf,
    place: Place,
}

enum Place {
    /// There is no such file yet.
    New,
    /// An ordinary file.
    File(Metadata),
    /// A device, or a pipe with a reader.
    Device(File),
}

impl Later {
    /// Looks whether it can be written.
    ///
    /// # Errors
    ///
    /// Why it cannot, with its name.
    pub fn open(path: &Path) -> Result<Self, String> {
        let place = look(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), place })
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// Why it was not written, with its name.
    pub fn write(self, text: &str) -> Result<(), String> {
        let done = match &self.place {
            Place::Device(file) => files::write(file, text.as_bytes(), PATIENCE),
            Place::New => replace(&self.path, text, None).or_else(|_| std::fs::write(&self.path, text)),
            Place::File(found) => match replace(&self.path, text, Some(found)) {
                Ok(()) => Ok(()),
                // No room for a second file, or no right to make one: then in its place.
                Err(_) => std::fs::write(&self.path, text),
            },
        };
        done.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }

    /// The same file by any name: two files would overwrite each other. Every way to `/dev/null` is fine.
    fn is(&self, identity: &Identity) -> bool {
        matches!(identity_of(&self.path), Some(own) if own == *identity && own != Identity::Null)
    }
}

fn look(path: &Path) -> io::Result<Place> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {
            // Opened and closed again: may it be written?
            OpenOptions::new().write(true).custom_flags(files::NONBLOCK).open(path)?;
            Ok(Place::File(found))
        }
        Ok(_) => Ok(Place::Device(files::open_device(path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            if path.file_name().is_none() {
                return Err(error);
            }
            files::may_create_in(folder)?;
            Ok(Place::New)
        }
        Err(error) => Err(error),
    }
}

/// Writes a file beside it and puts that in its place: there is the old one or the new one, and never half of one.
fn replace(path: &Path, text: &str, old: Option<&Metadata>) -> io::Result<()> {
    // A link stays, and what it leads to is written.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if old.is_none() && path.symlink_metadata().is_ok() {
        return Err(io::Error::other("a link that leads to nothing"));
    }
    // Other names of the file must show the new text too, and its owner must stay.
    if old.is_some_and(|old| old.nlink() > 1 || old.uid() != files::own_user()) {
        return Err(io::Error::other("not ours alone"));
    }
    let name = real.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let beside = real.with_file_name(format!(".{name}.pdsdoctor-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&beside)?;
    let done = || -> io::Result<()> {
        if let Some(old) = old {
            file.set_permissions(std::fs::Permissions::from_mode(old.permissions().mode() & 0o7777))?;
        }
        file.write_all(text.as_bytes())?;
        std::fs::rename(&beside, &real)
    }();
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    done
}

/// What makes two names the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Where everything is thrown away.
    Null,
    /// By device and inode.
    There(u64, u64),
    /// Not there yet: by the folder and the name in it.
    New(u64, u64, std::ffi::OsString),
}

fn of_metadata(found: &Metadata) -> Identity {
    // /dev/null is character device 1:3 (Linux, devices.txt), whatever it is called.
    let is_null = std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == found.rdev() && found.rdev() != 0);
    if is_null { Identity::Null } else { Identity::There(found.dev(), found.ino()) }
}

/// Which file a path leads to.
pub fn identity_of(path: &Path) -> Option<Identity> {
    if let Ok(found) = std::fs::metadata(path) {
        return Some(of_metadata(&found));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::metadata(folder).ok()?;
    Some(Identity::New(folder.dev(), folder.ino(), path.file_name()?.to_owned()))
}

/// Which file standard output is.
pub fn standard_output() -> Option<Identity> {
    Some(of_metadata(&files::standard_output().ok()?.metadata().ok()?))
}

/// Refuses two outputs into one file, and an output into a file that is read.
///
/// # Errors
///
/// Which two.
pub fn distinct(save: Option<&Later>, output: Option<&Later>, read: &[(&str, &Path)]) -> Result<(), String> {
    if let (Some(save), Some(output)) = (save, output)
        && identity_of(&output.path).is_some_and(|other| save.is(&other))
    {
        return Err("--save and --output name the same file".to_owned());
    }
    if let (Some(save), None) = (save, output)
        && standard_output().is_some_and(|other| save.is(&other))
    {
        return Err("--save names the file that the report goes to (standard output)".to_owned());
    }
    for (later, option) in [(save, "--save"), (output, "--output")] {
        let Some(later) = later else { continue };
        for (what, path) in read {
            if identity_of(path).is_some_and(|other| later.is(&other)) {
                return Err(format!("{option} and {what} name the same file: it is read, and would be overwritten"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_text_stays_until_there_is_a_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("report");
        drop(Later::open(&path).expect("a new file"));
        assert!(!path.exists(), "nothing is left behind");
        std::fs::write(&path, "old and longer").expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("rights");
        let later = Later::open(&path).expect("a file");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "old and longer");
        later.write("new").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "new");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o640);
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 1, "no second file stays");
    }

    #[test]
    fn links_of_both_kinds_stay_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, soft, hard, dangling) = (
            folder.path().join("real"),
            folder.path().join("soft"),
            folder.path().join("hard"),
            folder.path().join("x"),
        );
        std::fs::write(&real, "old").expect("a file");
        std::os::unix::fs::symlink(&real, &soft).expect("a link");
        Later::open(&soft).expect("a link").write("new").expect("written");
        assert!(soft.symlink_metadata().expect("there").is_symlink());
        std::fs::hard_link(&real, &hard).expect("a link");
        Later::open(&hard).expect("a link").write("newer").expect("written");
        assert_eq!(std::fs::read_to_string(&real).expect("text"), "newer");
        std::os::unix::fs::symlink(folder.path().join("gone"), &dangling).expect("a link");
        Later::open(&dangling).expect("a link").write("made").expect("written");
        assert!(dangling.symlink_metadata().expect("there").is_symlink());
        assert_eq!(std::fs::read_to_string(folder.path().join("gone")).expect("text"), "made");
    }

    #[test]
    fn one_file_by_two_names_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("one"), "").expect("a file");
        std::fs::hard_link(at("one"), at("hard")).expect("a link");
        std::os::unix::fs::symlink(at("one"), at("soft")).expect("a link");
        let later = |path: &Path| Later::open(path).expect("a file");
        let around = folder.path().join(".").join("one");
        for other in [at("one"), at("hard"), at("soft"), around] {
            assert!(distinct(Some(&later(&at("one"))), Some(&later(&other)), &[]).is_err(), "{other:?}");
            assert!(distinct(None, Some(&later(&at("one"))), &[("--log", &other)]).is_err(), "{other:?}");
        }
        let (new, same) = (later(&at("new")), later(&folder.path().join("./new")));
        assert!(distinct(Some(&new), Some(&same), &[]).is_err());
        assert!(distinct(Some(&new), Some(&later(&at("two"))), &[("--log", &at("one"))]).is_ok());
        let null = || later(Path::new("/dev/null"));
        assert!(distinct(Some(&null()), Some(&null()), &[]).is_ok());
    }
}
