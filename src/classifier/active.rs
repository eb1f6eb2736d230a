//! The model that answers, which can be replaced while the unit runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::classifier::LoadedModel;

/// Where everybody who needs the model finds the present one. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub struct ActiveModel(Arc<RwLock<Arc<LoadedModel>>>);

impl ActiveModel {
    #[must_use]
    pub fn new(model: LoadedModel) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(model))))
    }

    /// The present model; whoever works with it for longer asks now and then whether it [`is`](Self::is) still that one.
    #[must_use]
    pub fn get(&self) -> Arc<LoadedModel> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `model` is the present one.
    #[must_use]
    pub fn is(&self, model: &Arc<LoadedModel>) -> bool {
        Arc::ptr_eq(&self.0.read().unwrap_or_else(PoisonError::into_inner), model)
    }

    /// Puts another in its place. It must have passed its golden test: nobody asks again.
    pub fn replace(&self, model: LoadedModel) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
    }
}
