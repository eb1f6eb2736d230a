//! A technician with the right password gets in while others try to keep him out.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::unit::{PASSWORD, Reply, Unit};
use crate::waiting::until;

const ATTACKERS: usize = 8;

fn log_in(unit: &Unit, name: &str, password: &str, from: &str, headers: &[(&str, &str)]) -> Reply {
    let body = json!({ "username": name, "password": password }).to_string().into_bytes();
    let given = [("Content-Type", "application/json"), ("X-Forwarded-For", from)];
    let all: Vec<_> = given.into_iter().chain(headers.iter().copied()).collect();
    unit.send_with("POST", "/auth/token", "", &all, body)
}

/// Behind a proxy, so that tests can come from any address.
fn behind_proxy() -> Unit {
    Unit::with(&[("API__TRUSTED_PROXIES", "127.0.0.0/8")])
}

/// Runs `attack` (its number, its turn) on many threads, and `technician` once `begun` tries were answered. The flood goes on
/// until he has his answer.
fn during(what: &str, begun: usize, attack: impl Fn(usize, usize) + Sync, technician: impl FnOnce() -> Reply) -> Reply {
    let (over, tries) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for attacker in 0..ATTACKERS {
            let (over, tries, attack) = (&over, &tries, &attack);
            scope.spawn(move || {
                let mut turn = 0;
                while !over.load(Ordering::Relaxed) {
                    attack(attacker, turn);
                    turn += 1;
                    tries.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until(what, || tries.load(Ordering::Relaxed) >= begun);
        let asked = Instant::now();
        let reply = technician();
        println!("{what}: answered after {:?}", asked.elapsed());
        over.store(true, Ordering::Relaxed);
        reply
    })
}

/// The cookie of a first login, as the browser sends it back.
fn device(reply: &Reply) -> String {
    reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn wrong_guesses_from_the_same_address_do_not_keep_a_known_browser_out() {
    let unit = behind_proxy();
    unit.account("ann", "user");
    let office = "203.0.113.7";
    let first = log_in(&unit, "ann", PASSWORD, office, &[]);
    let cookie = device(&first);
    assert!(first.header("set-cookie").unwrap().contains("HttpOnly; SameSite=Strict"));
    let guess = |_, _| drop(log_in(&unit, "ann", "wrong", office, &[]));
    let reply = during("guesses from one address", 60, guess, || {
        assert_eq!(log_in(&unit, "ann", PASSWORD, office, &[]).status, 429, "a stranger there waits");
        log_in(&unit, "ann", PASSWORD, office, &[("Cookie", &cookie)])
    });
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn wrong_guesses_from_many_addresses_do_not_keep_a_known_address_out() {
    let unit = behind_proxy();
    unit.account("ann", "user");
    assert_eq!(log_in(&unit, "ann", PASSWORD, "203.0.113.7", &[]).status, 200);
    let guess = |attacker: usize, turn: usize| {
        drop(log_in(&unit, "ann", "wrong", &format!("198.51.{attacker}.{}", turn % 250), &[]));
    };
    let reply =
        during("guesses from many addresses", 200, guess, || log_in(&unit, "ann", PASSWORD, "203.0.113.7", &[]));
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn a_user_who_logs_in_without_end_does_not_keep_others_out() {
    let unit = behind_proxy();
    unit.account("ann", "user");
    unit.account("bob", "user");
    let again = |attacker: usize, _| drop(log_in(&unit, "bob", PASSWORD, &format!("198.51.100.{attacker}"), &[]));
    let reply = during("right logins without end", 30, again, || log_in(&unit, "ann", PASSWORD, "203.0.113.7", &[]));
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn guesses_at_many_accounts_do_not_keep_a_known_browser_out() {
    let unit = behind_proxy();
    unit.account("ann", "user");
    let cookie = device(&log_in(&unit, "ann", PASSWORD, "203.0.113.7", &[]));
    let guess = |attacker: usize, turn: usize| {
        drop(log_in(
            &unit,
            &format!("user-{attacker}-{turn}"),
            "wrong",
            &format!("198.51.{attacker}.{}", turn % 250),
            &[],
        ));
    };
    let headers = [("Cookie", cookie.as_str())];
    let reply =
        during("guesses at many accounts", 60, guess, || log_in(&unit, "ann", PASSWORD, "192.0.2.99", &headers));
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn a_page_of_another_site_cannot_guess_in_the_users_browser() {
    let unit = Unit::with(&[("API__CORS_ORIGINS", "https://dashboard.example")]);
    unit.account("ann", "user");
    let from = |site: &[(&str, &str)], password: &str| log_in(&unit, "ann", password, "", site);
    for _ in 0..20 {
        let refused = from(&[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")], "wrong");
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert_eq!(refused.error_code(), "AUTHORIZATION_ERROR");
    }
    assert_eq!(from(&[("Sec-Fetch-Site", "cross-site")], "wrong").status, 403, "a form without an origin");
    assert_eq!(from(&[], PASSWORD).status, 200, "none of them counted");
    assert_eq!(
        from(&[("Origin", "https://dashboard.example"), ("Sec-Fetch-Site", "cross-site")], PASSWORD).status,
        200
    );
}

#[test]
fn a_device_cookie_opens_nothing_and_is_of_one_account() {
    let unit = behind_proxy();
    unit.account("ann", "user");
    unit.account("bob", "user");
    let cookie = device(&log_in(&unit, "ann", PASSWORD, "203.0.113.7", &[]));
    let value = cookie.split_once('=').unwrap().1;
    assert_eq!(unit.get("/api/users/me", value).status, 401, "it is no token");
    let headers = [("Cookie", cookie.as_str())];
    let guesses = |name: &str| (0..40).any(|_| log_in(&unit, name, "wrong", "198.51.100.1", &headers).status == 429);
    assert!(guesses("bob"), "it is of no use for others' accounts");
    assert!(guesses("ann"), "nor for guessing without end");
}
