//! Accounts and tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Fixture, at, event};
use crate::error::ErrorKind;
use crate::record::{Principal, Role, Scope, ServiceToken, Standing, User};
use crate::store::{FIRST_ADMIN, NewUser, Store};

fn add(store: &Store, name: &str, role: Role) -> User {
    let new = NewUser {
        name: name.into(),
        role,
        password_hash: "$argon2id$x".into(),
        must_change_password: false,
        created_at: at(0),
    };
    store.add_user(new, event("user.add", 0)).wait().unwrap()
}

/// Whether the token was given back; none without the account.
fn returned(store: &Store, name: &str, jti: &str) -> Option<bool> {
    match store.standing(Principal::User { name, jti }).wait().unwrap() {
        Standing::User { user, token_revoked } => user.map(|_| token_revoked),
        Standing::Service(_) => None,
    }
}

fn service(store: &Store, id: &str) -> Option<ServiceToken> {
    match store.standing(Principal::Service { id }).wait().unwrap() {
        Standing::Service(token) => token,
        Standing::User { .. } => None,
    }
}

fn audited(fixture: &Fixture) -> Vec<String> {
    let rows = fixture.store.audit_page(Default::default(), None, 100).wait().unwrap();
    rows.into_iter().rev().map(|row| row.event.action).collect()
}

#[test]
fn an_account_lives_and_every_change_is_audited() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    add(store, "root", Role::Admin);
    let user = add(store, "bob", Role::User);
    assert_eq!((user.enabled, user.created_at, user.token_generation), (true, at(0), 0));
    assert_eq!(store.set_role("bob", Role::Admin, event("user.set-role", 1)).wait().unwrap().role, Role::Admin);
    let user =
        store.set_password("BOB", "$new".into(), true, Some("kept".into()), event("user.password", 2)).wait().unwrap();
    assert_eq!((user.password_hash.as_str(), user.must_change_password, user.token_generation), ("$new", true, 1));
    let user = store.set_enabled("bob", false, event("user.disable", 3)).wait().unwrap();
    assert_eq!((user.enabled, user.token_generation, user.kept_token), (false, 2, None));
    let user = store.set_enabled("bob", true, event("user.enable", 4)).wait().unwrap();
    assert_eq!((user.enabled, user.token_generation), (true, 2));
    assert_eq!(store.users().wait().unwrap().len(), 2);
    store.delete_user("bob", event("user.delete", 5)).wait().unwrap();
    assert!(store.user("bob").wait().unwrap().is_none());
    let expected =
        ["user.add", "user.add", "user.set-role", "user.password", "user.disable", "user.enable", "user.delete"];
    let mut actions = audited(&fixture);
    actions.sort();
    let mut sorted = expected;
    sorted.sort();
    assert_eq!(actions, sorted);
}

#[test]
fn names_are_unique_whatever_their_case_and_unknown_ones_are_not_found() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    add(store, "Bob", Role::User);
    let new = NewUser {
        name: "bOB".into(),
        role: Role::User,
        password_hash: String::new(),
        must_change_password: false,
        created_at: at(0),
    };
    assert_eq!(store.add_user(new, event("user.add", 0)).wait().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.user("BOB").wait().unwrap().unwrap().name, "Bob");
    let missing = store.set_role("eve", Role::User, event("user.set-role", 0)).wait().unwrap_err();
    assert_eq!((missing.kind(), missing.message()), (ErrorKind::NotFound, "There is no user \"eve\"."));
    assert_eq!(store.delete_user("eve", event("x", 0)).wait().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_last_enabled_administrator_stays() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    add(store, "root", Role::Admin);
    add(store, "spare", Role::Admin);
    add(store, "bob", Role::User);
    store.set_enabled("spare", false, event("user.disable", 1)).wait().unwrap();
    let refused = [
        store.set_role("root", Role::User, event("x", 2)).wait().map(drop).unwrap_err(),
        store.set_enabled("root", false, event("x", 2)).wait().map(drop).unwrap_err(),
        store.delete_user("root", event("x", 2)).wait().unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("last enabled administrator"), "{error}");
    }
    // What changes nothing of it may be done, and a disabled administrator is nobody's last hope.
    store.set_role("root", Role::Admin, event("y", 3)).wait().unwrap();
    store.set_enabled("root", true, event("y", 3)).wait().unwrap();
    store.delete_user("spare", event("y", 3)).wait().unwrap();
    // Once there is another one, the first may go.
    store.set_role("bob", Role::Admin, event("y", 4)).wait().unwrap();
    store.delete_user("root", event("y", 4)).wait().unwrap();
}

#[test]
fn who_is_known_by_a_token_does_not_wait_for_lists() {
    let fixture = Fixture::new();
    add(&fixture.store, "ann", Role::User);
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let slow = fixture.store.list(move |_| Ok(opened.recv().is_err()));
    let ran = Arc::new(AtomicBool::new(false));
    let running = ran.clone();
    let abandoned = fixture.store.list(move |_| {
        running.store(true, Ordering::SeqCst);
        Ok(())
    });
    drop(abandoned);
    let after = fixture.store.list(|_| Ok(()));
    assert_eq!(returned(&fixture.store, "ann", "t1"), Some(false), "while a list takes its time");
    drop(gate);
    assert!(slow.wait().unwrap());
    after.wait().unwrap();
    assert!(!ran.load(Ordering::SeqCst), "nobody waited for it any more");
}

#[test]
fn the_first_administrator_is_made_once() {
    let fixture = Fixture::new();
    let first = fixture.store.add_first_admin("$a".into(), event("user.add", 0));
    let second = fixture.store.add_first_admin("$b".into(), event("user.add", 0));
    assert_eq!((first.wait().unwrap(), second.wait().unwrap()), (true, false));
    let admin = fixture.store.user(FIRST_ADMIN).wait().unwrap().unwrap();
    assert_eq!((admin.role, admin.must_change_password, admin.password_hash.as_str()), (Role::Admin, true, "$a"));
    assert_eq!(fixture.count("audit_log"), 1);
}

#[test]
fn service_tokens_are_issued_listed_and_revoked() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let token = ServiceToken {
        id: "jti-1".into(),
        name: "prometheus".into(),
        scopes: vec![Scope::Metrics, Scope::Read],
        created_at: at(0),
        expires_at: at(100),
        revoked_at: None,
    };
    store.add_service_token(token.clone(), event("token.issue", 0)).wait().unwrap();
    let twice = ServiceToken { id: "jti-2".into(), ..token };
    assert_eq!(store.add_service_token(twice, event("token.issue", 0)).wait().unwrap_err().kind(), ErrorKind::Conflict);
    let found = service(store, "jti-1").unwrap();
    assert_eq!((found.scopes, found.expires_at, found.revoked_at), (vec![Scope::Metrics, Scope::Read], at(100), None));
    store.revoke_service_token("prometheus", at(5), event("token.revoke", 5)).wait().unwrap();
    assert_eq!(store.service_tokens().wait().unwrap()[0].revoked_at, Some(at(5)));
    let again = store.revoke_service_token("prometheus", at(6), event("token.revoke", 6)).wait().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let unknown = store.revoke_service_token("grafana", at(6), event("token.revoke", 6)).wait().unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(service(store, "jti-9").is_none());
}

#[test]
fn a_user_and_a_service_token_never_share_a_name() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let token = |name: &str| ServiceToken {
        id: format!("jti of {name}"),
        name: name.into(),
        scopes: vec![Scope::Read],
        created_at: at(0),
        expires_at: at(100),
        revoked_at: None,
    };
    let new = |name: &str| NewUser {
        name: name.into(),
        role: Role::User,
        password_hash: "$argon2id$x".into(),
        must_change_password: false,
        created_at: at(0),
    };
    add(store, "Ann", Role::User);
    for taken in ["Ann", "ann", "Admin"] {
        let refused = store.add_service_token(token(taken), event("token.issue", 1)).wait().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{taken}");
        assert!(refused.to_string().contains("name of a user"), "{refused}");
    }
    store.add_service_token(token("Scraper"), event("token.issue", 2)).wait().unwrap();
    let clash = || store.add_user(new("scraper"), event("user.add", 3)).wait().unwrap_err();
    assert_eq!(clash().kind(), ErrorKind::Conflict);
    store.revoke_service_token("Scraper", at(4), event("token.revoke", 4)).wait().unwrap();
    assert!(clash().to_string().contains("service token"), "what the token did stays under its name");
    assert_eq!(audited(&fixture).len(), 3, "what was refused changed nothing");
    assert!(store.add_first_admin("$argon2id$x".into(), event("user.add", 5)).wait().is_ok());
}

#[test]
fn a_returned_token_is_void_for_its_account_only_and_forgotten_once_expired() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    add(store, "bob", Role::User);
    let revoked = |name: &str, jti: &str| returned(store, name, jti);
    store.revoke_access("one", at(10), event("auth.logout", 0)).wait().unwrap();
    store.revoke_access("one", at(10), event("auth.logout", 0)).wait().unwrap();
    assert_eq!(revoked("bob", "one"), Some(true));
    assert_eq!(revoked("bob", "two"), Some(false));
    assert_eq!(revoked("eve", "one"), None);

    // A clock that nobody set says nothing about what has expired.
    let mut unset = event("auth.logout", 1_000);
    unset.at.synced = false;
    store.revoke_access("two", at(2_000), unset).wait().unwrap();
    assert_eq!(revoked("bob", "one"), Some(true));
    store.revoke_access("three", at(2_000), event("auth.logout", 1_000)).wait().unwrap();
    assert_eq!(revoked("bob", "one"), Some(false));
    assert_eq!(fixture.count("revoked_tokens"), 2);
}
