//! Asking a server a question in a few bytes, with a deadline, and what it may answer.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::ServerError;
use super::secured::{Stream, secured};
use super::tls::remedy;
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
            Self::Silent(reason) => match remedy(&reason) {
                Some(remedy) => ServerError::Refused { product, url, reason: format!("{reason}: {remedy}") },
                None => ServerError::Unreachable { product, url, reason },
            },
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

/// As [`connect`], over TLS where the address is spoken to so.
pub(super) async fn open(address: &Address) -> Result<Box<dyn Stream>, AskError> {
    let stream = connect(address).await?;
    if !address.secured {
        return Ok(Box::new(stream));
    }
    secure(stream, address).await
}

/// Goes over to TLS.
pub(super) async fn secure(stream: TcpStream, address: &Address) -> Result<Box<dyn Stream>, AskError> {
    let secured = timeout(PATIENCE, secured(stream, address)).await;
    // A server that waits for a line of its own protocol says nothing to a handshake.
    let secured = secured.map_err(|_| {
        AskError::Silent(format!(
            "connected, but no answer to a handshake of TLS within {} s",
            PATIENCE.as_secs()
        ))
    })?;
    secured.map_err(AskError::Silent)
}

/// Sends the question on a connection of its own and reads until the server closes it.
pub(super) async fn exchange(address: &Address, question: &[u8]) -> Result<String, AskError> {
    let mut stream = open(address).await?;
    let answer = async {
        stream.write_all(question).await?;
        let mut answer = Vec::new();
        match stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await {
            // Not every server says goodbye by the rules of TLS.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof || answer.is_empty() => Err(error),
            _ => Ok(answer),
        }
    };
    let answer = timeout(PATIENCE, answer).await.map_err(|_| no_answer())??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub(super) fn no_answer() -> AskError {
    AskError::Silent(format!("connected, but no answer within {} s", PATIENCE.as_secs()))
}

/// The addresses of a comma-separated list of URLs, whose parameters stand at its end, and whose schemes and logins, if not all have
/// one, before the first.
pub(super) fn addresses(
    list: &str,
    default_port: u16,
    spoken: impl Fn(Address) -> Result<Address, String>,
) -> Result<Vec<Address>, AskError> {
    let (places, parameters) = list.split_once('?').map_or((list, None), |(p, q)| (p, Some(q)));
    let (mut scheme, mut login) = (String::new(), String::new());
    let mut addresses = Vec::new();
    for place in places.split(',').map(str::trim) {
        let place = match place.split_once("://") {
            Some((own, place)) => {
                scheme = format!("{own}://");
                place
            }
            None => place,
        };
        let place = match place.rsplit_once('@') {
            Some((own, place)) => {
                login = format!("{own}@");
                place
            }
            None => place,
        };
        let url = format!("{scheme}{login}{place}");
        let url = parameters.map_or_else(|| url.clone(), |parameters| format!("{url}?{parameters}"));
        addresses.push(Address::parse(&url, default_port).and_then(&spoken).map_err(AskError::Url)?);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_login_of_the_first_are_those_of_all_that_have_none() {
        let list = "https://me:s3c%2Fret@a,b:7,http://other:x@c/root?ssl-ca=/ca.pem";
        let shown: Vec<_> = addresses(list, 2379, Ok)
            .unwrap()
            .into_iter()
            .map(|one| (one.scheme.clone(), one.password.clone().unwrap_or_default(), one.socket()))
            .collect();
        let of = |scheme: &str, password: &str, socket: &str| (scheme.into(), password.into(), socket.into());
        assert_eq!(
            shown,
            [of("https", "s3c/ret", "a:2379"), of("https", "s3c/ret", "b:7"), of("http", "x", "c:2379")]
        );
    }
}
