//! Enough of the protocol to ask one question: text lines, and JSON in the answer.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::servers::secured::Stream;
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

/// Answers to our questions are shorter.
const LONGEST_ANSWER: usize = 1 << 20;

/// A connection that nobody is logged in on yet.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// What the server says of itself to whoever connects.
    pub(super) info: Value,
}

impl Connection {
    pub(super) async fn open(address: &Address) -> Result<Self, AskError> {
        let mut stream = wire::connect(address).await?;
        let line = greeting(&mut stream).await?;
        let stream = if address.secured { wire::secure(stream, address).await? } else { Box::new(stream) };
        let mut connection = Self { stream: BufReader::new(stream), info: Value::Null };
        let info = line.strip_prefix("INFO ").and_then(|info| serde_json::from_str(info).ok());
        let strange = || AskError::Silent(format!("this is no greeting of NATS: {line:?}"));
        connection.info = info.ok_or_else(strange)?;
        Ok(connection)
    }

    /// Logs in and sends one request. Where nobody serves its subject, that is an error.
    pub(super) async fn ask(
        &mut self,
        user: Option<&str>,
        password: Option<&str>,
        subject: &str,
        request: &Value,
    ) -> Result<Value, AskError> {
        let mut login = json!({ "verbose": false, "headers": true, "no_responders": true });
        // A word alone is a token, before or behind the colon.
        match (user, password) {
            (Some(user), Some(password)) => {
                login["user"] = user.into();
                login["pass"] = password.into();
            }
            (word, other) => login["auth_token"] = word.or(other).into(),
        }
        let request = if request.is_null() { String::new() } else { request.to_string() };
        let question = format!(
            "CONNECT {login}\r\nSUB lockbench.answer 1\r\nPUB {subject} lockbench.answer {}\r\n{request}\r\n",
            request.len()
        );
        self.stream.write_all(question.as_bytes()).await?;
        loop {
            let line = self.line().await?;
            let mut words = line.split(' ');
            match words.next() {
                Some("MSG") => {
                    let strange = || AskError::Silent(format!("{subject}: {line}"));
                    let length = words.next_back().and_then(|length| length.parse().ok());
                    let length = length.filter(|length| *length <= LONGEST_ANSWER).ok_or_else(strange)?;
                    return self.answer(subject, length).await;
                }
                Some("HMSG") => return Err(AskError::Silent("JetStream does not serve".to_owned())),
                Some("-ERR") => return Err(AskError::Silent(line)),
                Some("PING") => self.stream.write_all(b"PONG\r\n").await?,
                _ => {}
            }
        }
    }

    async fn answer(&mut self, subject: &str, length: usize) -> Result<Value, AskError> {
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text).await?;
        let answer: Option<Value> = serde_json::from_slice(&text).ok();
        let answer = answer.filter(|answer| answer["error"].is_null());
        answer.ok_or_else(|| AskError::Silent(format!("{subject}: {}", String::from_utf8_lossy(&text))))
    }

    async fn line(&mut self) -> Result<String, AskError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await? {
            0 => Err(AskError::Silent("it closed the connection".to_owned())),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// The first line, and no byte more: what follows may be TLS.
async fn greeting(stream: &mut TcpStream) -> Result<String, AskError> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            _ if line.len() > LONGEST_ANSWER => {
                return Err(AskError::Silent("its greeting has no end".to_owned()));
            }
            byte => line.push(byte),
        }
    }
}
