//! Why a manifest or a component was rejected, and the steps at which that can happen.

use std::sync::Arc;

use jiff::Timestamp;

use crate::guest::{Component, Digest};
use crate::limits;

/// Why a manifest or a component was rejected.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The step that failed.
    pub stage: Stage,
    /// What is wrong; several lines if it shows a difference.
    pub message: String,
    /// The component, once it could be read.
    pub digest: Option<Digest>,
    /// When it was first refused.
    pub at: Timestamp,
    /// The cause may pass without a file being changed: it is tried again.
    pub passing: bool,
    /// The component that failed its examples. It fits, so recorded requests can be run on it.
    pub candidate: Option<Arc<Component>>,
}

/// The steps from a file to a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The manifest is invalid as a whole.
    Manifest,
    /// It is not signed by a key that the node trusts.
    Signature,
    /// The file cannot be read.
    Read,
    /// It is not a component, or takes too much to compile.
    Compile,
    /// It is of another world, imports what it was not granted, or does not fit its limits.
    Fit,
    /// A value of its `config` cannot be read.
    Config,
    /// A granted procedure cannot be called.
    Procedures,
    /// It does not behave as its examples require.
    Examples,
    /// It decides otherwise on recorded requests, and its manifest refuses that.
    Recorded,
}

impl Refusal {
    /// A refusal at this moment.
    pub fn new(stage: Stage, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > limits::REFUSAL_BYTES_MAX {
            message.truncate(message.floor_char_boundary(limits::REFUSAL_BYTES_MAX));
            message.push_str(" …");
        }
        Self {
            stage,
            message,
            digest: None,
            at: Timestamp::now(),
            passing: stage == Stage::Procedures,
            candidate: None,
        }
    }

    /// The same refusal, with a cause that may pass.
    pub fn passing(self) -> Self {
        Self { passing: true, ..self }
    }

    /// Whether it differs from the one before: a mere retry is not worth logging.
    pub fn is_news_after(&self, old: Option<&Self>) -> bool {
        let same = |old: &Self| old.stage == self.stage && old.message == self.message && old.digest == self.digest;
        !old.is_some_and(same)
    }

    /// The same refusal, of a component that fits.
    pub fn of_candidate(self, candidate: Component) -> Self {
        Self { candidate: Some(Arc::new(candidate)), ..self }
    }

    /// The same refusal, of this component.
    pub fn of(self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self }
    }
}

impl Stage {
    /// Its name in the log and in `/handlers`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Signature => "signature",
            Self::Read => "read",
            Self::Compile => "compile",
            Self::Fit => "fit",
            Self::Config => "config",
            Self::Procedures => "procedures",
            Self::Examples => "examples",
            Self::Recorded => "recorded",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
