//! The technician's page in a real browser: from the first password to a classified picture.

use image::ImageFormat;
use vehicle_classifierd::clock::Clock;
use vehicle_classifierd::record::Passage;

use crate::browser::Browser;
use crate::pictures::generated;
use crate::traffic::passage;
use crate::unit::{ADMIN_PASSWORD, Unit, golden};
use crate::waiting::until;

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
    // The road comes first; without a camera it says so.
    browser.until("document.querySelector('#road').checkVisibility()");
    browser.until("document.querySelector('#road-picture-message').innerText.includes('capture.source')");
    browser.script("location.hash = '#classify'");
    browser.until("document.querySelector('#classify').checkVisibility()");

    browser.choose_file("#choose", &picture);
    browser.until("document.querySelector('#rows').innerText.includes('Emergency')");
    let complaints: Vec<_> = browser.complaints().into_iter().filter(|line| !line.contains("status of 40")).collect();
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

/// A time zone whose day does not end during a test.
fn where_it_is_noon() -> String {
    let hour = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).hour();
    // POSIX counts westwards.
    format!("Etc/GMT{:+}", hour - 12)
}

#[test]
fn the_page_shows_the_road_the_counts_and_the_last_vehicles() {
    let recording = tempfile::tempdir().unwrap();
    let clip = recording.path().join("clip.mjpeg");
    let frames: Vec<u8> = (0..3).flat_map(|seed| generated(320, 240, seed, ImageFormat::Jpeg)).collect();
    std::fs::write(&clip, frames).unwrap();
    let source = format!("replay:{}?fps=10&loop=true", clip.display());
    let unit = Unit::with(&[("CAPTURE__SOURCE", source.as_str()), ("UNIT__TIMEZONE", &where_it_is_noon())]);
    unit.account("ann", "user");
    // A page that asks for a picture before there is one complains.
    until("frames come", || unit.get("/health", "").json()["camera_connected"] == true);
    let now = vehicle_classifierd::clock::SystemClock::new().now();
    let passed = Passage { started: now.clone(), ended: now.clone(), counted: now, ..passage("p", 0, "bus", "north") };
    unit.store().record_passage(passed).wait().unwrap();
    let browser = Browser::start();
    browser.open(&unit.url("/"));
    browser.type_into("#username", "ann");
    browser.type_into("#password", crate::unit::PASSWORD);
    browser.click("#login-form button");
    browser.until("document.querySelector('#road-passages').innerText.includes('bus')");
    browser.until("document.querySelector('#road-total').innerText == '1 vehicle'");
    browser.until("document.querySelector('#road-picture').width == 320");
    browser.until("document.querySelector('#road-age').innerText.startsWith('Live')");
    assert_eq!(browser.complaints(), [""; 0], "the page complains in the console");
}
