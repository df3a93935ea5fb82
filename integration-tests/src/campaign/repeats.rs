//! After all was healed, writes are repeated under their request_id: each must be answered as it was before. Those that
//! were hard to get come first, then others by chance.

use std::time::Duration;

use futures::{StreamExt, stream};
use prost_reflect::{DynamicMessage, MethodDescriptor};
use rand::{SeedableRng, rngs::ChaCha8Rng, seq::IteratorRandom};

use super::{
    desk::{comes_again, may_be_repeated},
    journal::{End, Entry},
    judge::{Check, REFUSED},
};
use crate::{
    Mesh,
    calls::{call_any, methods, reason},
};

/// Most writes that are repeated of those that took more than one attempt, and of the others.
const HARD: usize = 400;
const EASY: usize = 200;
/// Repetitions under way at once.
const AT_ONCE: usize = 16;
/// How long one repetition may be tried.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a repetition.
enum Repeated {
    Same,
    Otherwise,
    Refused(String),
}

/// How many writes were repeated, and what was found.
pub(crate) async fn check(mesh: &Mesh, entries: &[Entry], seed: u64) -> anyhow::Result<(usize, Vec<Check>)> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let acknowledged = || entries.iter().filter(|entry| entry.is_acknowledged());
    let mut chosen = acknowledged().filter(|entry| entry.attempts > 1).sample(&mut chance, HARD);
    chosen.extend(acknowledged().filter(|entry| entry.attempts == 1).sample(&mut chance, EASY));
    let methods = methods()?;
    let repeated: Vec<anyhow::Result<(&Entry, Repeated)>> = stream::iter(&chosen)
        .map(async |entry| Ok((*entry, repeat(mesh, &methods, entry).await?)))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut refused, mut otherwise) = (Vec::new(), Vec::new());
    for one in repeated {
        match one? {
            (_, Repeated::Same) => {}
            (entry, Repeated::Otherwise) => otherwise.push(entry.name()),
            (entry, Repeated::Refused(why)) => refused.push(format!("{} repeated: {why}", entry.name())),
        }
    }
    Ok((
        chosen.len(),
        vec![Check::of("repeated, and answered otherwise", otherwise), Check::of(REFUSED, refused)],
    ))
}

async fn repeat(mesh: &Mesh, methods: &[MethodDescriptor], entry: &Entry) -> anyhow::Result<Repeated> {
    let path =
        |method: &MethodDescriptor| format!("/{}/{}", method.parent_service().full_name(), method.name());
    let method = methods.iter().find(|method| path(method) == entry.path);
    let method = method.ok_or_else(|| anyhow::anyhow!("{} is no method", entry.path))?;
    let End::Acknowledged { answer, .. } = &entry.end else { anyhow::bail!("it was not acknowledged") };
    let before = DynamicMessage::decode(method.output(), answer.as_slice())?;
    let request = DynamicMessage::decode(method.input(), entry.request.as_slice())?;
    let channel = mesh.channel(&entry.institution)?;
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (again, why) = match call_any(channel.clone(), method, request.clone(), crate::calls::AMPLE).await
        {
            Ok(after) if after.as_ref() == Some(&before) => return Ok(Repeated::Same),
            // A row of a stream is refused in the stream.
            Ok(after) => match after.as_ref().map(reason_of_row) {
                Some(reason) if reason.is_empty() => return Ok(Repeated::Otherwise),
                Some(reason) => (comes_again(&reason), reason),
                None => (true, "no answer".to_owned()),
            },
            Err(status) => {
                (may_be_repeated(status.code()), format!("{:?} {}", status.code(), reason(&status)))
            }
        };
        if !again || tokio::time::Instant::now() > until {
            return Ok(Repeated::Refused(why));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The reason with which a row of a stream was refused; empty when it was not, or is none.
fn reason_of_row(answer: &DynamicMessage) -> String {
    let reason = answer.get_field_by_name("reason");
    reason.and_then(|reason| reason.as_str().map(str::to_owned)).unwrap_or_default()
}
