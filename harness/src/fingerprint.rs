//! What programs are made of, in a few letters: two that have the same are the same, whatever they are called.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Folders that a tool fills from what stands beside them.
const MADE: [&str; 4] = [".git", "__pycache__", "node_modules", "target"];

/// Of these files, and of all that is in these folders but what tools fill them with, by name and content.
///
/// # Errors
/// When something cannot be read.
///
/// ```
/// use std::path::Path;
///
/// let of = |path: &str| harness::fingerprint::of(&[Path::new(path)]);
/// let program = std::env::current_exe().unwrap();
/// assert_eq!(of(program.to_str().unwrap()).unwrap().len(), 16);
/// assert!(of("/no/such/program").is_err());
/// ```
pub fn of(paths: &[&Path]) -> io::Result<String> {
    let mut all = Sha256::new();
    for path in paths {
        let mut files = BTreeSet::new();
        collect(path, &mut files)?;
        for file in &files {
            // A name ends where the digest of what it is called begins, so that neither can be taken for the other.
            let name = file.strip_prefix(path).unwrap_or(file);
            all.update(Sha256::digest(name.as_os_str().as_encoded_bytes()));
            all.update(content(file)?);
        }
    }
    Ok(all.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    for entry in path.read_dir()? {
        let entry = entry?;
        let made = MADE.iter().any(|made| entry.file_name() == *made);
        // A link may lead back to where it stands: it counts as what it is called.
        let kind = entry.file_type()?;
        if kind.is_dir() && !made {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.insert(entry.path());
        }
    }
    Ok(())
}

fn content(file: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut digest, mut piece) = (File::open(file)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_and_contents_count_and_what_tools_make_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        for place in [&one, &other] {
            fs::create_dir_all(place.join("src")).unwrap();
            fs::write(place.join("src/lock.py"), "1").unwrap();
            fs::write(place.join("lock.txt"), "a==1").unwrap();
        }
        let fingerprint = |path: &Path| of(&[path]).unwrap();
        assert_eq!(fingerprint(&one), fingerprint(&other), "wherever it stands");
        let before = fingerprint(&one);
        fs::create_dir(one.join("target")).unwrap();
        fs::write(one.join("target/x"), "made").unwrap();
        assert_eq!(fingerprint(&one), before);
        fs::write(one.join("lock.txt"), "a==2").unwrap();
        assert_ne!(fingerprint(&one), before);
        fs::write(one.join("lock.txt"), "a==1").unwrap();
        fs::rename(one.join("lock.txt"), one.join("lok.txt")).unwrap();
        assert_ne!(fingerprint(&one), before);
        assert_ne!(of(&[&one, &other]).unwrap(), of(&[&one]).unwrap());
        let program = folder.path().join("program");
        fs::write(&program, "1").unwrap();
        assert_ne!(fingerprint(&program), before);
    }
}
