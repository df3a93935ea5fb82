//! Where the distribution put a program.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The folder that holds PostgreSQL's `initdb`, `postgres`, `pg_ctl` and `createdb`.
pub(crate) fn postgres_folder() -> Option<PathBuf> {
    let needed = ["initdb", "postgres", "pg_ctl", "createdb"];
    let on_path = path_folders().find(|folder| folder.join("initdb").is_file()).and_then(|folder| {
        // PATH may hold links to single programs: follow them to the folder that has all.
        let real = fs::canonicalize(folder.join("initdb")).ok()?.parent()?.to_owned();
        [folder, real].into_iter().find(|folder| holds(folder, &needed))
    });
    on_path.or_else(|| {
        let mut found: Vec<PathBuf> = [
            // Debian, Ubuntu: one folder per major version
            ("/usr/lib/postgresql", "bin"),
            // Red Hat's and the PostgreSQL group's packages
            ("/usr", "bin"),
            // Homebrew
            ("/opt/homebrew/opt", "bin"),
            ("/usr/local/opt", "bin"),
            // Built from source
            ("/usr/local", "bin"),
        ]
        .into_iter()
        .flat_map(|(folder, bin)| subfolders(Path::new(folder)).map(move |each| each.join(bin)))
        .chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")])
        .filter(|folder| holds(folder, &needed))
        .collect();
        found.sort_by_key(|folder| version(folder));
        found.pop()
    })
}

/// The `redis-server` program, or its compatible successor `valkey-server`.
pub(crate) fn redis_server() -> Option<PathBuf> {
    let usual = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    let folders: Vec<PathBuf> = path_folders().chain(usual).collect();
    ["redis-server", "valkey-server"]
        .into_iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn holds(folder: &Path, programs: &[&str]) -> bool {
    programs.iter().all(|program| folder.join(program).is_file())
}

/// The greatest number in the path: the major version in `/usr/lib/postgresql/15/bin` or `…/postgresql@17/bin`.
fn version(folder: &Path) -> u32 {
    folder
        .to_string_lossy()
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_wins() {
        let mut folders = [
            "/usr/lib/postgresql/9/bin",
            "/usr/bin",
            "/usr/lib/postgresql/17/bin",
            "/usr/lib/postgresql/15/bin",
        ]
        .map(PathBuf::from);
        folders.sort_by_key(|folder| version(folder));
        assert_eq!(folders[3], Path::new("/usr/lib/postgresql/17/bin"));
    }
}
