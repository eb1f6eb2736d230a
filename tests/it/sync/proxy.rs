//! A network that misbehaves on demand, between a unit and its server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// The next answer is cut off after so many bytes, and the connection with it.
    CutAnswerAfter(usize),
    /// The next question is cut off after so many bytes.
    CutQuestionAfter(usize),
    /// Nothing comes through any more, and nobody is told.
    Swallow,
    /// Something answers that does not speak the protocol.
    Garbage,
}

pub struct Proxy {
    pub port: u16,
    mode: Arc<Mutex<Mode>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            mode: Arc::new(Mutex::new(Mode::Pass)),
            open: Arc::default(),
        };
        let (mode, open) = (proxy.mode.clone(), proxy.open.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // Without a server the near side sees a connection that ends at once.
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                open.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (from, to, answer) in
                    [(near.try_clone(), far.try_clone(), false), (far.try_clone(), near.try_clone(), true)]
                {
                    let (from, to, mode) = (from.unwrap(), to.unwrap(), mode.clone());
                    std::thread::spawn(move || carry(from, to, answer, &mode));
                }
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Ends every connection.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, answer: bool, mode: &Mutex<Mode>) {
    let _ = from.set_read_timeout(Some(Duration::from_secs(120)));
    let mut bytes = [0; 16 * 1_024];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(count) if count > 0 => count,
            _ => break,
        };
        let now = *mode.lock().unwrap();
        let sent = match now {
            Mode::Swallow => Ok(()),
            Mode::Garbage if answer => to.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Mode::CutAnswerAfter(limit) if answer => cut(&mut to, &bytes[..count], limit, mode),
            Mode::CutQuestionAfter(limit) if !answer => cut(&mut to, &bytes[..count], limit, mode),
            _ => to.write_all(&bytes[..count]),
        };
        if sent.is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn cut(to: &mut TcpStream, bytes: &[u8], limit: usize, mode: &Mutex<Mode>) -> std::io::Result<()> {
    to.write_all(&bytes[..limit.min(bytes.len())])?;
    *mode.lock().unwrap() = Mode::Pass;
    Err(std::io::ErrorKind::ConnectionAborted.into())
}
