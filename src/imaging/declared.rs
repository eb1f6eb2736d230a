//! What an upload says of itself: the file name's extension and the declared media type have to agree with the content.

use crate::error::{Error, ErrorKind, Result};
use crate::frame::PictureFormat;
use crate::imaging::{sniff, title};

/// Longest file name shown in a message; longer ones are cut.
const DISPLAY_CHARS_MAX: usize = 80;
/// Media types that say nothing about the content.
const UNSPECIFIC_TYPES: [&str; 4] = ["", "application/octet-stream", "binary/octet-stream", "image/*"];

/// Extensions of pictures that the unit does not read. A name such as `snapshot.cgi` says nothing about the content.
const OTHER_PICTURE_EXTENSIONS: [&str; 12] =
    ["avif", "heic", "heif", "ico", "j2k", "jp2", "jxl", "pdf", "svg", "tga", "tif", "tiff"];

/// What the client says of an upload; none where it says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared<'a> {
    pub file_name: Option<&'a str>,
    /// As in `Content-Type`, parameters allowed.
    pub media_type: Option<&'a str>,
}

/// Checks that magic number, file name extension and declared type agree. No extension or one that is no picture's, no type and
/// `application/octet-stream` declare nothing and agree with everything; `image/*` agrees with every picture.
///
/// # Errors
/// Validation for an empty file; unsupported media type for anything that is no supported picture, and for a name or type
/// that says something else than the content.
pub fn check_declared(bytes: &[u8], declared: &Declared<'_>) -> Result<PictureFormat> {
    let label = display_name(declared.file_name);
    let format = recognise(bytes, &label)?;
    if let Some(extension) = declared.file_name.and_then(extension)
        && is_picture_extension(&extension)
        && !format.extensions().contains(&extension.as_str())
    {
        let said = PictureFormat::ALL.into_iter().find(|other| other.extensions().contains(&extension.as_str()));
        return Err(disagreement(&label, format, "name", said, &extension));
    }
    if let Some(media_type) = declared.media_type.and_then(specific_type)
        && !format.media_types().contains(&media_type.as_str())
    {
        let said = PictureFormat::ALL.into_iter().find(|other| other.media_types().contains(&media_type.as_str()));
        return Err(disagreement(&label, format, "declared type", said, &media_type));
    }
    Ok(format)
}

/// The format by magic number, or why it is none; `label` names the picture in messages.
pub(super) fn recognise(bytes: &[u8], label: &str) -> Result<PictureFormat> {
    if bytes.is_empty() {
        return Err(Error::validation(format!("{label}: the file is empty; send it again.")));
    }
    sniff(bytes).ok_or_else(|| {
        let titles = PictureFormat::ALL.map(title).join(", ");
        Error::new(
            ErrorKind::UnsupportedMediaType,
            format!("{label}: this is no picture in a supported format ({titles})."),
        )
    })
}

/// A file name fit for messages: the last path component without control and direction-changing characters, at most
/// 80 characters; `picture` when nothing is left.
#[must_use]
pub fn display_name(file_name: Option<&str>) -> String {
    let shown: String = base_name(file_name.unwrap_or_default()).chars().filter(|&c| is_shown(c)).collect();
    let shown = shown.trim();
    if shown.is_empty() {
        return "picture".to_owned();
    }
    shortened(shown, DISPLAY_CHARS_MAX)
}

/// `text` in one line of at most `chars_max` characters.
pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars().filter(|&c| is_shown(c));
    let mut kept: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() {
        kept.pop();
        kept.push('…');
    }
    kept
}

fn is_shown(c: char) -> bool {
    // Bidirectional overrides and isolates could make `gpj.exe` read as `exe.jpg` in a log or on a page.
    !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn base_name(file_name: &str) -> &str {
    file_name.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// Lower-case extension; none for `picture`, `.hidden` and `picture.`.
fn extension(file_name: &str) -> Option<String> {
    let (stem, extension) = base_name(file_name).trim().rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_ascii_lowercase())
}

fn is_picture_extension(extension: &str) -> bool {
    OTHER_PICTURE_EXTENSIONS.contains(&extension)
        || PictureFormat::ALL.into_iter().any(|format| format.extensions().contains(&extension))
}

/// Lower-case media type without parameters; none when it says nothing.
fn specific_type(media_type: &str) -> Option<String> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!UNSPECIFIC_TYPES.contains(&essence.as_str())).then_some(essence)
}

fn disagreement(label: &str, format: PictureFormat, what: &str, said: Option<PictureFormat>, literally: &str) -> Error {
    let content = format.name();
    let said = said.map_or_else(|| shortened(literally, DISPLAY_CHARS_MAX), |other| other.name().to_owned());
    let remedy = if what == "name" { "rename or convert it" } else { "declare the right type or none" };
    Error::new(
        ErrorKind::UnsupportedMediaType,
        format!("{label}: the content is {content} but the {what} says {said}; {remedy}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: [u8; 4] = [0xff, 0xd8, 0xff, 0xe0];

    fn message(bytes: &[u8], file_name: Option<&str>, media_type: Option<&str>) -> Result<(), (u16, String)> {
        check_declared(bytes, &Declared { file_name, media_type })
            .map(drop)
            .map_err(|error| (error.kind().facts().status, error.message().to_owned()))
    }

    #[test]
    fn names_and_types_that_agree_or_say_nothing_pass() {
        for name in [
            "bus.jpg",
            "BUS.JPEG",
            "bus",
            ".jpg",
            "bus.",
            "snapshot.cgi",
            "image.php",
            "bus.txt",
            "a.png/bus.jfif",
            "C:\\photos.png\\bus.jpe",
            "",
        ] {
            assert_eq!(message(&JPEG, Some(name), None), Ok(()), "{name}");
        }
        for media_type in ["image/jpeg", "IMAGE/JPG; q=1", "application/octet-stream", " ", "image/*"] {
            assert_eq!(message(&JPEG, None, Some(media_type)), Ok(()), "{media_type}");
        }
        assert_eq!(message(&JPEG, None, None), Ok(()));
    }

    #[test]
    fn disagreements_are_named() {
        let table = [
            (Some("bus.png"), None, "bus.png: the content is jpeg but the name says png; rename or convert it."),
            (Some("bus.tiff"), None, "bus.tiff: the content is jpeg but the name says tiff; rename or convert it."),
            (
                Some("bus.jpg"),
                Some("image/x-png"),
                "bus.jpg: the content is jpeg but the declared type says png; declare the right type or none.",
            ),
            (
                None,
                Some("text/plain; charset=utf-8"),
                "picture: the content is jpeg but the declared type says text/plain; declare the right type or none.",
            ),
        ];
        for (name, media_type, expected) in table {
            assert_eq!(message(&JPEG, name, media_type), Err((415, expected.to_owned())));
        }
    }

    #[test]
    fn what_is_no_picture_is_refused_whatever_it_claims() {
        let expected = "notes.jpg: this is no picture in a supported format (JPEG, PNG, BMP, GIF, WebP).";
        for text in ["BMW 320d, Kennzeichen unlesbar", "<svg/>", "RIFF1234AVI LIST", "GIF88a", "\u{89}PNG"] {
            assert_eq!(
                message(text.as_bytes(), Some("notes.jpg"), Some("image/jpeg")),
                Err((415, expected.to_owned())),
                "{text}"
            );
        }
        assert_eq!(
            message(b"", Some("a.jpg"), None),
            Err((400, "a.jpg: the file is empty; send it again.".to_owned()))
        );
    }

    #[test]
    fn shown_names_are_clean_and_short() {
        assert_eq!(display_name(None), "picture");
        assert_eq!(display_name(Some("\u{7}\n ")), "picture");
        assert_eq!(display_name(Some("../../etc/pa\u{1b}[31mss\r\nwd")), "pa[31msswd");
        assert_eq!(display_name(Some("exe.\u{202e}gpj")), "exe.gpj");
        let long = display_name(Some(&"ü".repeat(300)));
        assert_eq!(long.chars().count(), 80);
        assert!(long.ends_with('…'));
    }
}
