//! A value that was read from files, and is read again when they change: certificates and keys are renewed while the
//! process runs, and no call is dropped for it.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the files last held that could be used.
#[derive(Debug, Clone)]
pub struct Reloaded<T>(watch::Receiver<Arc<T>>);

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the value, and from then on watches the files. Within a runtime.
    ///
    /// # Errors
    /// When the value cannot be read now. Later, what cannot be read is told in the log and the old value stays.
    pub fn watch(
        what: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut seen = looks(&files);
        let (sender, receiver) = watch::channel(Arc::new(read()?));
        tokio::spawn(async move {
            let mut refused = false;
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                let look = looks(&files);
                if look == seen {
                    continue;
                }
                match read() {
                    Ok(value) => {
                        (seen, refused) = (look, false);
                        sender.send_replace(Arc::new(value));
                        tracing::info!(what, "read again");
                    }
                    // Two files that belong together are replaced one after the other: the next look may find both.
                    Err(error) => {
                        if !std::mem::replace(&mut refused, true) {
                            tracing::warn!(
                                what,
                                "changed, and cannot be used yet; the old one stays: {error:#}"
                            );
                        }
                    }
                }
            }
        });
        Ok(Self(receiver))
    }

    /// The value now.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}

impl<T> From<Arc<T>> for Reloaded<T> {
    /// A value that stays what it is.
    fn from(value: Arc<T>) -> Self {
        Self(watch::channel(value).1)
    }
}

type Look = Option<(u64, u64, Option<SystemTime>)>;

fn looks(files: &[PathBuf]) -> Vec<Look> {
    let look = |metadata: Metadata| (metadata.ino(), metadata.len(), metadata.modified().ok());
    files.iter().map(|file| std::fs::metadata(file).ok().map(look)).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_and_one_that_cannot_be_used_is_not() {
        let folder = std::env::temp_dir().join(format!("jkn-reload-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("number");
        let write = |text: &str| {
            std::fs::write(folder.join("beside"), text).unwrap();
            std::fs::rename(folder.join("beside"), &file).unwrap();
        };
        write("1");
        let path = file.clone();
        let read = move || std::fs::read_to_string(&path)?.parse::<i32>().context("a number");
        let reloaded = Reloaded::watch("number", vec![file.clone()], read).unwrap();
        assert_eq!(*reloaded.current(), 1);
        let mut changed = reloaded.0.clone();
        write("two");
        tokio::time::sleep(3 * LOOK_EVERY).await;
        assert_eq!(*reloaded.current(), 1, "the old one stays");
        write("2");
        changed.changed().await.unwrap();
        assert_eq!(*reloaded.current(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
