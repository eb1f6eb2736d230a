//! Pages of the ledger as they go out.

use salvo::oapi::ToSchema;
use serde::Serialize;

use crate::ledger::wire::{PassageWire, ValidationWire};

/// Passages newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct PassagePage {
    pub passages: Vec<PassageWire>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// Manual counts newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ValidationPage {
    pub validations: Vec<ValidationWire>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
}
