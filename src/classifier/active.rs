//! The model that answers, which can be replaced while the unit runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::classifier::LoadedModel;
use crate::error::Result;

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

    /// Lets `work` work with the present model, and with each successor, until it says that it is done (false); true asks for
    /// the successor. `work` takes the model to work with and the one that is wanted. They differ after a successor could not
    /// be used: the last model that worked then goes on until there is yet another.
    ///
    /// # Errors
    /// The error of `work` when there is no model left that works.
    pub fn serve(
        &self,
        who: &str,
        mut work: impl FnMut(&Arc<LoadedModel>, &Arc<LoadedModel>) -> Result<bool>,
    ) -> Result<()> {
        let mut working: Option<Arc<LoadedModel>> = None;
        loop {
            let wanted = self.get();
            let goes_on = match (work(&wanted, &wanted), &working) {
                (Ok(goes_on), _) => {
                    working = Some(wanted);
                    goes_on
                }
                (Err(error), None) => return Err(error),
                (Err(error), Some(last)) => {
                    let (last_title, title) = (last.title(), wanted.title());
                    tracing::error!(
                        "{who}: model {title} cannot be used, {last_title} stays in force: {}",
                        error.chain()
                    );
                    work(last, &wanted)?
                }
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Puts another in its place. It must have passed its golden test: nobody asks again.
    pub fn replace(&self, model: LoadedModel) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
    }
}
