//! What a new password must be, after NIST SP 800-63B-4, section 3.1.1.2: long, and none that an attacker tries first.
//! There are no composition rules and no expiry.
//!
//! Length is counted in Unicode code points after normalisation to NFC, the form that is hashed, so that the same
//! characters typed on another system are the same password. Refused are whole passwords and their plain derivatives,
//! never words inside a longer one: the commonest, the account's name and the product's words with little else, one
//! piece repeated, and runs of the alphabet, the digits or a keyboard's rows.
//!
//! `common_passwords.txt` (lower case, one a line) is what has 12 characters or more in the lists of common passwords,
//! English words and film words of the npm packages `zxcvbn` 4.4.2 and `@zxcvbn-ts/language-common` 4.1.3, both MIT;
//! their licence lies beside it. Shorter ones are kept out by the length.

use icu_normalizer::ComposingNormalizerBorrowed;
use std::borrow::Cow;

use crate::error::{Error, Result};

/// Longest password accepted, in characters.
pub const PASSWORD_LENGTH_MAX: usize = 128;

const COMMON: &str = include_str!("common_passwords.txt");
const PRODUCT_WORDS: [&str; 2] = ["vehicle", "classifier"];
/// Each is read round and round, forwards and backwards: digits, alphabet, keyboards (QWERTY, QWERTZ, AZERTY).
const RUNS: [&str; 5] = [
    "1234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
];
/// What must be left of a password without the account's name and the product's words: NIST's least length of any
/// password.
const REST_LENGTH_MIN: usize = 8;
/// Shorter account names are part of too many words to be looked for.
const NAME_LENGTH_MIN: usize = 3;

/// The form that is counted, compared and hashed.
#[must_use]
pub(super) fn normalised(password: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(password)
}

/// The rules for new passwords.
#[derive(Clone, Copy, Debug)]
pub struct PasswordRules {
    /// Shortest password accepted, in characters (`auth.password_length_min`).
    pub length_min: usize,
}

impl PasswordRules {
    /// Checks a password that `account` is to get.
    ///
    /// # Errors
    /// Validation, with the reason and what to do instead; the message never holds the password.
    pub fn check(&self, password: &str, account: &str) -> Result<()> {
        match self.fault(&normalised(password), account) {
            None => Ok(()),
            Some(reason) => Err(Error::validation(reason).detail("field", "password")),
        }
    }

    fn fault(&self, password: &str, account: &str) -> Option<String> {
        let length = password.chars().count();
        if length < self.length_min {
            return Some(format!(
                "The password has {length} characters and needs at least {}; a few unrelated words make a good one.",
                self.length_min
            ));
        }
        if length > PASSWORD_LENGTH_MAX {
            return Some(format!("The password has {length} characters; at most {PASSWORD_LENGTH_MAX} are allowed."));
        }
        if password.chars().any(char::is_control) {
            return Some("The password holds a control character, such as a line end or a tab; leave it out.".into());
        }
        let lower = password.to_lowercase();
        if COMMON.lines().any(|common| common == lower) {
            return Some("The password is one of the commonest and would be guessed; choose another.".into());
        }
        if is_repetition(&lower, self.length_min) {
            return Some("The password is one piece repeated and would be guessed; choose another.".into());
        }
        if is_run(&lower) {
            return Some(
                "The password is a run of the alphabet, the digits or the keyboard and would be guessed; choose another."
                    .into(),
            );
        }
        if is_derived(&lower, &normalised(account).to_lowercase()) {
            return Some(
                "The password is little more than the account's or the product's name; choose one without them.".into(),
            );
        }
        None
    }
}

/// Longest account name.
const NAME_BYTES_MAX: usize = 64;
/// Names that mean something else where names are expected: `/api/users/me`.
const RESERVED_NAMES: [&str; 1] = ["me"];

/// Checks the name of a new account: it stands in paths, logs and tables, so it holds nothing that means something there.
///
/// # Errors
/// Validation, with what a name may be.
pub fn check_account_name(name: &str) -> Result<()> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte))
        && name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !fits {
        let message = format!(
            "An account name has at most {NAME_BYTES_MAX} letters, digits, `.`, `_`, `@` and `-`, and begins with a letter or a digit."
        );
        return Err(Error::validation(message).detail("field", "name"));
    }
    if RESERVED_NAMES.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return Err(Error::validation(format!("{name:?} is reserved; choose another name.")).detail("field", "name"));
    }
    Ok(())
}

/// One piece over and over (the last time perhaps cut short), when that piece alone would be too short.
fn is_repetition(lower: &str, length_min: usize) -> bool {
    let chars: Vec<char> = lower.chars().collect();
    (1..length_min)
        .take_while(|piece| piece * 2 <= chars.len())
        .any(|piece| chars[piece..] == chars[..chars.len() - piece])
}

fn is_run(lower: &str) -> bool {
    let backwards: String = lower.chars().rev().collect();
    RUNS.into_iter().any(|run| {
        let round = run.repeat(lower.len() / run.len() + 2);
        round.contains(lower) || round.contains(&backwards)
    })
}

/// The account's name and the product's words make up the password, but for a little or a plain run.
fn is_derived(lower: &str, account: &str) -> bool {
    let mut rest = lower.to_owned();
    for word in [account].into_iter().filter(|name| name.chars().count() >= NAME_LENGTH_MIN).chain(PRODUCT_WORDS) {
        rest = rest.replace(word, "");
    }
    if rest.len() == lower.len() {
        return false;
    }
    let rest: String = rest.chars().filter(|c| c.is_alphanumeric()).collect();
    rest.chars().count() < REST_LENGTH_MIN || is_run(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const RULES: PasswordRules = PasswordRules { length_min: 15 };

    #[test]
    fn long_passwords_of_any_composition_are_accepted() {
        for good in [
            "correct horse battery staple",
            "zusammen laufen wir weiter",
            "ein großer grüner Bus fährt",
            "vehicles pass by my window daily",
            "admin of the northern bridge",
            "4813 7702 9916 2048",
            "ключ от старого гаража",
            &"xk9-".repeat(40)[..]
                .chars()
                .zip(('a'..='z').cycle())
                .flat_map(|(a, b)| [a, b])
                .take(128)
                .collect::<String>(),
        ] {
            assert!(RULES.check(good, "admin").is_ok(), "{good}: {:?}", RULES.check(good, "admin"));
        }
    }

    #[test]
    fn what_would_be_guessed_is_refused_with_the_reason() {
        for (bad, reason) in [
            ("", "0 characters"),
            ("fourteen chars", "14 characters"),
            ("a very\nodd password", "control character"),
            ("PasswordPassword", "commonest"),
            ("qwertyuiop12345", "commonest"),
            ("Telecommunications", "commonest"),
            ("aaaaaaaaaaaaaaaa", "repeated"),
            ("Hunter2hunter2hunter2", "repeated"),
            ("xy7xy7xy7xy7xy7x", "repeated"),
            ("bcdefghijklmnopq", "run"),
            ("zyxwvutsrqponmlk", "run"),
            ("567890123456789", "run"),
            ("QWERTZUIOPASDFGH", "run"),
            ("VehicleClassifier", "product's name"),
            ("vehicle-classifierd 2026!", "product's name"),
            ("bridge-north_2026", "account's"),
            ("Bridge-North1234567890", "account's"),
        ] {
            let error = RULES.check(bad, "bridge-north").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Validation);
            assert!(error.message().contains(reason), "{bad:?}: {error}");
            assert!(bad.is_empty() || !error.message().contains(bad), "the message must not repeat {bad:?}");
        }
    }

    #[test]
    fn the_length_is_counted_in_composed_characters() {
        let decomposed = "u\u{308}".repeat(7) + "o\u{308}a\u{308}e\u{301}x4q7k!Z";
        assert_eq!(normalised(&decomposed).chars().count(), 17);
        assert!(PasswordRules { length_min: 18 }.check(&decomposed, "a").is_err());
        assert!(PasswordRules { length_min: 17 }.check(&decomposed, "a").is_ok());
        let long: String = ('\u{4e00}'..).take(129).collect();
        assert!(RULES.check(&long, "a").unwrap_err().message().contains("at most 128"));
        assert!(RULES.check(&long.chars().skip(1).collect::<String>(), "a").is_ok());
    }

    #[test]
    fn account_names_mean_nothing_in_paths_logs_and_tables() {
        for good in ["ada", "A.Lovelace", "ops_2@depot-7", "7"] {
            check_account_name(good).unwrap();
        }
        for bad in ["", "a b", "../etc", "a/b", "=1+1", "-x", "@x", "a\nb", "größe", "ME", &"x".repeat(65)] {
            assert_eq!(check_account_name(bad).unwrap_err().kind(), ErrorKind::Validation, "{bad:?}");
        }
    }

    #[test]
    fn the_list_is_lower_case_and_worth_its_bytes() {
        let lines: Vec<&str> = COMMON.lines().collect();
        assert!((1_000..10_000).contains(&lines.len()));
        assert!(
            lines.is_sorted() && lines.iter().all(|line| line.chars().count() >= 12 && *line == line.to_lowercase())
        );
    }
}
