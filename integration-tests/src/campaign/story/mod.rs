//! What a caller does, one piece of work a file: each is a chain of writes that rest on each other's answers.

mod claim;
mod episode;
mod facility;
mod family;
mod filing;
mod month;
mod settlement;
mod visit;

/// An answer that may be missing in the contract but never is: without it the work cannot go on.
fn given<T>(part: Option<T>) -> Result<T, super::desk::Stopped> {
    part.ok_or(super::desk::Stopped::Failed)
}
