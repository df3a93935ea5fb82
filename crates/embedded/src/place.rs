//! The folder a private server lives in, who may enter it, who owns it now, and what a killed owner left there.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::account::Account;

/// The longest folder for a unix socket: the system holds 104 (macOS) or 108 bytes for the whole path.
const LONGEST_SOCKET_FOLDER: usize = 80;

/// The sole ownership of a folder by this process, as long as this value lives. The system takes it back from a
/// process that is killed.
#[derive(Debug)]
pub(crate) struct Ownership(#[expect(dead_code, reason = "held, not used")] File);

impl Ownership {
    /// Owns the folder, or says who does.
    pub(crate) fn take(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("owner");
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                bail!(
                    "{} is in use by another running process (pid {}). Stop that one first, or use another folder",
                    folder.display(),
                    owner.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).context(format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Self(file))
    }
}

/// The folder `<root>/<name>` for a server that runs as the given account. Where that account cannot enter the
/// root, the folder lies in a place of the system's, and `<root>/<name>` is a link to it.
pub(crate) fn home(root: &Path, name: &str, account: Account) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    let root = fs::canonicalize(root)?;
    let entry = root.join(name);
    match fs::canonicalize(&entry) {
        Ok(existing) if account.can_enter(&existing) => return Ok(existing),
        Ok(existing) => bail!(
            "the user the server runs as (uid {}) cannot enter {}; give that user access, or remove the folder to start with new data",
            account.uid,
            existing.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", entry.display())),
    }
    // A link into nothing: what it led to was removed.
    if fs::symlink_metadata(&entry).is_ok() {
        fs::remove_file(&entry).with_context(|| format!("cannot remove {}", entry.display()))?;
    }
    if account.can_enter(&root) {
        make_private(&entry, account)?;
        return Ok(entry);
    }
    let unique = uuid::Uuid::now_v7().simple().to_string();
    for parent in ["/var/lib/jkn", "/var/tmp/jkn"] {
        let folder = Path::new(parent).join(&unique);
        let made = make_enterable(Path::new(parent)).and_then(|()| make_private(&folder, account));
        if made.is_ok() && account.can_enter(&folder) {
            std::os::unix::fs::symlink(&folder, &entry)
                .with_context(|| format!("cannot link {} to {}", entry.display(), folder.display()))?;
            return Ok(folder);
        }
    }
    bail!(
        "the user the server runs as (uid {}) cannot enter {}, and no folder could be made in /var/lib/jkn or /var/tmp/jkn",
        account.uid,
        root.display()
    )
}

/// A folder short enough for a unix socket, which only the account can enter: in the home, or, where the path is too
/// long or has characters that mean something in a list of folders or an URL, in the system's temporary folder.
pub(crate) fn socket_folder(home: &Path, account: Account) -> anyhow::Result<PathBuf> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let name = home.as_os_str().as_encoded_bytes();
    let folder = if name.iter().all(is_plain) && name.len() + "/socket".len() <= LONGEST_SOCKET_FOLDER {
        home.join("socket")
    } else {
        Path::new("/tmp").join(format!("jkn-{}-{:016x}", account.uid, fingerprint(name)))
    };
    if !folder.exists() {
        make_private(&folder, account)?;
    }
    let metadata = fs::symlink_metadata(&folder)?;
    if !metadata.is_dir() || metadata.uid() != account.uid || metadata.mode() & 0o077 != 0 {
        bail!("{} must be a folder of uid {} with mode 0700; remove it", folder.display(), account.uid);
    }
    Ok(folder)
}

/// A new folder that only the account can enter.
pub(crate) fn make_private(folder: &Path, account: Account) -> anyhow::Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    if Account::own()? != account {
        std::os::unix::fs::chown(folder, Some(account.uid), Some(account.gid))
            .with_context(|| format!("cannot give {} to uid {}", folder.display(), account.uid))?;
    }
    Ok(())
}

fn make_enterable(folder: &Path) -> anyhow::Result<()> {
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The processes whose working folder is the given one, by `/proc`; `None` where there is no such thing.
pub(crate) fn processes_in(folder: &Path) -> Option<Vec<u32>> {
    let folder = fs::canonicalize(folder).ok()?;
    let entries = fs::read_dir("/proc").ok()?;
    let found = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder))
        .collect();
    Path::new("/proc/self/cwd").exists().then_some(found)
}

/// FNV-1a: a short, stable name for a long one. Not for secrets.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The last lines of a log, for an error message.
pub(crate) fn last_lines(log: &Path, count: usize) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = Ownership::take(folder.path()).unwrap();
        let error = Ownership::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        Ownership::take(folder.path()).unwrap();
    }

    #[test]
    fn a_socket_folder_is_short_and_private() {
        let account = Account::own().unwrap();
        let deep = tempfile::tempdir().unwrap();
        let home = deep.path().join("a".repeat(60)).join("b".repeat(60));
        fs::create_dir_all(&home).unwrap();
        let folder = socket_folder(&home, account).unwrap();
        assert!(folder.as_os_str().len() <= LONGEST_SOCKET_FOLDER);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(socket_folder(&home, account).is_err(), "others could enter it");
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_socket_folder_has_a_plain_name() {
        let account = Account::own().unwrap();
        let odd = tempfile::Builder::new().prefix("odd data,#").tempdir().unwrap();
        let folder = socket_folder(odd.path(), account).unwrap();
        assert!(!folder.starts_with(odd.path()));
        fs::remove_dir(&folder).unwrap();
    }
}
