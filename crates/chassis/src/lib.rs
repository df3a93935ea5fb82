//! How a process of the mesh lives: it reads its settings, proves who it is, listens, is ready, calls others, is
//! observed, writes exactly once, and stops. Not a word about health insurance.
//!
//! - [`config`]: settings in layers; [`policy`]: dated rules from files
//! - [`identity`], [`tls`], [`reload`]: who calls; [`contract`]: which methods there are and who may call them
//! - [`call`]: a call under way; [`Problem`], [`Fields`]: how it is refused
//! - [`Mutation`]: a write that happens once; [`Batcher`]: many in one transaction; `sweep`: for how long
//! - `conclude`, `relay`, [`feed`], `publish`, [`Fold`]: its event, told once
//! - [`Service`], [`host`], [`listen`]: a service, the process that runs it, its port; [`limits`]: when a call ends
//! - [`Upstream`], [`upstream`]: another service, over all of its addresses
//! - [`telemetry`]: logs, traces, metrics; [`time`], [`page`]: days and pages

mod batch;
pub mod call;
mod conclude;
pub mod config;
pub mod contract;
pub mod db;
pub mod feed;
mod follow;
pub mod host;
pub mod identity;
mod intake;
pub mod limits;
pub mod listen;
mod mutation;
pub mod page;
pub mod policy;
mod problem;
mod publish;
mod relay;
pub mod reload;
mod service;
mod sweep;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod upstream;

pub use batch::{Batched, Batcher, Event, Outcome, Turn};
pub use call::Call;
pub use conclude::{Concluded, Kept};
pub use config::Settings;
pub use db::Db;
pub use follow::Fold;
pub use identity::Caller;
pub use mutation::{Begun, Mutation, NotARequestId, RequestId, Write};
pub use problem::{DOMAIN, Fields, Problem};

pub use service::{Parts, Service, Start};
pub use upstream::Upstream;
