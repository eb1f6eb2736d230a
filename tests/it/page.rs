//! The technician's page in a real browser: from the first password to a classified picture.

use crate::browser::Browser;
use crate::unit::{ADMIN_PASSWORD, Unit, golden};

#[test]
fn a_technician_gets_from_the_first_password_to_a_classified_picture() {
    let unit = Unit::start();
    let picture = unit.state_directory().join("photo.jpg");
    std::fs::write(&picture, golden()).unwrap();
    let browser = Browser::start();
    browser.open(&unit.url("/"));
    browser.until("document.querySelector('#status').dataset.level != 'wait'");

    browser.type_into("#username", "admin");
    browser.type_into("#password", "not the first password");
    browser.click("#login-form button");
    browser.until("document.querySelector('#login-form [role=alert]').innerText.length > 0");
    assert_eq!(browser.script("return document.querySelector('#classify').checkVisibility()"), false);

    let first = unit.first_password();
    browser.script("document.querySelector('#password').value = ''");
    browser.type_into("#password", &first);
    browser.click("#login-form button");
    browser.until("document.querySelector('#change-form').checkVisibility()");
    browser.type_into("#new-password", ADMIN_PASSWORD);
    browser.type_into("#repeat-password", ADMIN_PASSWORD);
    browser.click("#change-form button");
    browser.until("document.querySelector('#classify').checkVisibility()");

    browser.choose_file("#choose", &picture);
    browser.until("document.querySelector('#rows').innerText.includes('Emergency')");
    let complaints: Vec<_> = browser.complaints().into_iter().filter(|line| !line.contains("status of 401")).collect();
    assert_eq!(complaints, [""; 0], "the page complains in the console");
}

#[test]
fn the_api_description_shows_in_swagger_ui() {
    let unit = Unit::start();
    let browser = Browser::start();
    browser.open(&unit.url("/docs"));
    browser.until("document.body.innerText.includes('/api/vehicle/classify')");
    browser.until("document.querySelector('button.authorize')");
    assert_eq!(browser.complaints(), [""; 0], "Swagger UI complains in the console");
}
