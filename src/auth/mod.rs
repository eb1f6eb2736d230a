//! Who is asking and what they may do: password rules and hashes, signed tokens and their key, the brake on guessing.
//!
//! Nothing here reads or writes the store: accounts, tokens and revocations are handed in by the caller. [`password`] is
//! the only slow part; [`password::PasswordGate`] keeps it off the async threads and its memory bounded.

pub mod identity;
pub mod key;
pub mod password;
pub mod rules;
pub mod throttle;
pub mod token;
mod warrant;

pub use identity::{Identity, Permission};
pub use key::Key;
pub use password::PasswordGate;
pub use rules::{PasswordRules, check_account_name};
pub use throttle::{Admission, LoginSource, LoginThrottle, network};
pub use token::{Claims, Grant, Issued, Signer};
pub use warrant::Warrant;
