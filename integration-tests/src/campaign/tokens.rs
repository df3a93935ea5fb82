//! The tokens of every institution of a campaign, made before it begins.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tonic::metadata::{Ascii, MetadataValue};

use super::cast;
use crate::Mesh;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<HashMap<String, MetadataValue<Ascii>>>);

impl Tokens {
    pub(crate) fn of_all(mesh: &Mesh, lifetime: Duration) -> anyhow::Result<Self> {
        let mut tokens = HashMap::new();
        for institution in cast::institutions() {
            let token = format!("Bearer {}", mesh.token_for(&institution, lifetime)?);
            tokens.insert(institution, MetadataValue::try_from(token)?);
        }
        Ok(Self(Arc::new(tokens)))
    }

    /// The token of an institution of the cast.
    pub(crate) fn of(&self, institution: &str) -> MetadataValue<Ascii> {
        self.0.get(institution).cloned().unwrap_or_else(|| MetadataValue::from_static("Bearer nobody"))
    }
}
