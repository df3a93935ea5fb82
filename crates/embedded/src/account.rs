//! Whose process this is. PostgreSQL refuses to run as root, so root hands it to an unprivileged account.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;

/// A user and group a program is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// The account of this process: that of a file it has just made.
    pub(crate) fn own() -> anyhow::Result<Self> {
        let mut file = tempfile::tempfile().context("cannot create a temporary file")?;
        file.flush()?;
        let metadata = file.metadata()?;
        Ok(Self { uid: metadata.uid(), gid: metadata.gid() })
    }

    /// The account to which root hands the database: `postgres` where the distribution made one, otherwise `nobody`.
    pub(crate) fn unprivileged() -> anyhow::Result<Self> {
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        ["postgres", "nobody"].into_iter().find_map(|name| Self::in_passwd(&passwd, name)).context(
            "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody. \
             Start as another user, or create one: useradd --system postgres",
        )
    }

    /// The owner of a file or folder.
    pub(crate) fn owner_of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self { uid: metadata.uid(), gid: metadata.gid() })
    }

    fn in_passwd(passwd: &str, name: &str) -> Option<Self> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2);
        Some(Self { uid: numbers.next()?.parse().ok()?, gid: numbers.next()?.parse().ok()? })
    }

    pub(crate) fn is_root(self) -> bool {
        self.uid == 0
    }

    /// Whether a process of this account can go into the folder: asked of such a process.
    pub(crate) fn can_enter(self, folder: &Path) -> bool {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("test");
        command.arg("-x").arg(folder).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.uid(self.uid).gid(self.gid);
        command.status().is_ok_and(|status| status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_password_file() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres2:x:9:9::/:/bin/sh\npostgres:x:105:113:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(Account::in_passwd(passwd, "postgres"), Some(Account { uid: 105, gid: 113 }));
        assert_eq!(Account::in_passwd(passwd, "nobody"), None);
    }
}
