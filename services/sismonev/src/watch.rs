//! Watches over the figures: folds ring a bell in the database when they commit, whichever process folds; each
//! stream then reads its figures again and sends those that moved.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::postgres::PgListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    indicator::Figure,
    pending::Window,
    query::{self, Definitions},
    store,
};

/// The longest pause before the bell is tied up again after the database went away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Figures are read at most so often by a stream, however fast folds commit.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Rings whenever a fold was committed. Its value only tells one ring from the next.
pub type Bell = watch::Sender<u64>;

/// Passes the database's notifications on to the bell until the process stops.
///
/// # Errors
/// Never; what fails is tried again.
pub async fn listen(db: chassis::Db, bell: Bell, stop: CancellationToken) -> anyhow::Result<()> {
    let mut pause = LEAST_PAUSE;
    while !stop.is_cancelled() {
        let heard = stop.run_until_cancelled(hear(&db, &bell, &mut pause)).await;
        if let Some(Err(error)) = heard {
            tracing::debug!(%error, "listening for moved figures failed; trying again");
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    Ok(())
}

async fn hear(db: &chassis::Db, bell: &Bell, pause: &mut Duration) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(&db.pool).await?;
    listener.listen(store::MOVED).await?;
    *pause = LEAST_PAUSE;
    loop {
        // After a lost connection something may have moved unheard: ring then as well.
        bell.send_modify(|rings| *rings += 1);
        listener.try_recv().await?;
    }
}

/// A figure that is new to the watcher.
pub struct Moved {
    /// The indicator.
    pub indicator_id: String,
    /// The first day of the month.
    pub month: jiff::civil::Date,
    /// The figure of the whole nation.
    pub figure: Figure,
    /// When it was read.
    pub as_of: Timestamp,
}

/// Sends the figure of the current month for each indicator, and again whenever it moved, until the receiver is gone.
pub async fn follow(
    db: chassis::Db,
    definitions: Arc<Definitions>,
    ids: Vec<String>,
    mut rings: watch::Receiver<u64>,
    sender: mpsc::Sender<Result<Moved, Error>>,
    stop: CancellationToken,
) {
    let mut last = HashMap::new();
    loop {
        rings.mark_unchanged();
        match moved(&db, &definitions, &ids, &mut last, Timestamp::now()).await {
            Ok(moved) => {
                for figure in moved {
                    if sender.send(Ok(figure)).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let _receiver_may_be_gone = sender.send(Err(error)).await;
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sender.closed() => return,
            rung = rings.changed() => if rung.is_err() { return },
        }
        tokio::time::sleep(LEAST_PAUSE).await;
    }
}

async fn moved(
    db: &chassis::Db,
    definitions: &Definitions,
    ids: &[String],
    last: &mut HashMap<String, (jiff::civil::Date, Figure)>,
    now: Timestamp,
) -> Result<Vec<Moved>, Error> {
    let today = chassis::time::today_at(now);
    let Some(window) = Window::of(today, today) else { return Ok(Vec::new()) };
    // One snapshot for both sides of the line.
    let mut snapshot =
        db.pool.begin_with("begin transaction isolation level repeatable read, read only").await?;
    let mut moved = Vec::new();
    for id in ids {
        let (version, definition) = query::definition(definitions, id, window.first)?;
        let figures = query::figures(&mut snapshot, version, definition, &[], window, now).await?;
        for figure in figures {
            let seen = (window.first, figure.clone());
            if last.get(id) != Some(&seen) {
                last.insert(id.clone(), seen);
                moved.push(Moved { indicator_id: id.clone(), month: window.first, figure, as_of: now });
            }
        }
    }
    snapshot.commit().await?;
    Ok(moved)
}
