//! Asking a server a question in a few bytes, with a deadline, and what it may answer.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::ServerError;
use super::url::{Address, redact};

/// How long one question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// More than any answer to our questions needs.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// The URL cannot be right.
    Url(String),
    /// The program that asks is not here.
    Missing(ServerError),
    /// The server is not there, not ready, or says no.
    Silent(String),
}

impl AskError {
    pub(super) fn into_error(self, product: &'static str, url: &str) -> ServerError {
        let url = redact(url);
        match self {
            Self::Url(reason) => ServerError::BadUrl { product, url, reason },
            Self::Missing(error) => error,
            Self::Silent(reason) => ServerError::Unreachable { product, url, reason },
        }
    }
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        Self::Silent(error.to_string())
    }
}

/// Connects within [`PATIENCE`].
pub(super) async fn connect(address: &Address) -> Result<TcpStream, AskError> {
    let socket = address.socket();
    match timeout(PATIENCE, TcpStream::connect(&socket)).await {
        Ok(stream) => Ok(stream?),
        Err(_) => Err(AskError::Silent(format!("no connection within {} s", PATIENCE.as_secs()))),
    }
}

/// Sends the question on a connection of its own and reads until the server closes it.
pub(super) async fn exchange(address: &Address, question: &[u8]) -> Result<String, AskError> {
    let mut stream = connect(address).await?;
    let answer = async {
        stream.write_all(question).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = timeout(PATIENCE, answer).await.map_err(|_| no_answer())??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub(super) fn no_answer() -> AskError {
    AskError::Silent(format!("connected, but no answer within {} s", PATIENCE.as_secs()))
}

/// The addresses of a comma-separated list of URLs.
pub(super) fn addresses(list: &str, default_port: u16) -> Result<Vec<Address>, AskError> {
    list.split(',').map(|url| Address::parse(url.trim(), default_port).map_err(AskError::Url)).collect()
}
