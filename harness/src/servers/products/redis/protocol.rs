//! Enough of the Redis protocol to ask a few questions.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::servers::secured::Stream;
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

/// A connection that is logged in.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

impl Connection {
    pub(super) async fn open(address: &Address) -> Result<Self, AskError> {
        let mut connection = Self { stream: BufReader::new(wire::open(address).await?) };
        if let Some(password) = &address.password {
            let login = [Some("AUTH"), address.user.as_deref(), Some(password.as_str())];
            connection.call(&login.into_iter().flatten().collect::<Vec<_>>()).await?;
        }
        Ok(connection)
    }

    /// The reply's strings: one, or those of an array.
    pub(super) async fn call(&mut self, words: &[&str]) -> Result<Vec<String>, AskError> {
        let mut question = format!("*{}\r\n", words.len());
        for word in words {
            question.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let patience: Duration = wire::PATIENCE;
        let talk = async {
            self.stream.write_all(question.as_bytes()).await?;
            let mut texts = Vec::new();
            let mut left = 1_usize;
            while left > 0 {
                left -= 1;
                left += self.item(&mut texts).await?;
            }
            Ok(texts)
        };
        timeout(patience, talk).await.map_err(|_| wire::no_answer())?
    }

    /// A setting in force. Hosted servers often refuse CONFIG: then it is unknown, which is worth saying.
    pub(super) async fn setting(&mut self, name: &str) -> String {
        let pair = self.call(&["CONFIG", "GET", name]).await.unwrap_or_default();
        pair.get(1).cloned().unwrap_or_else(|| "unknown".to_owned())
    }

    /// Reads one item; returns how many more it announces.
    async fn item(&mut self, texts: &mut Vec<String>) -> Result<usize, AskError> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let strange = || AskError::Silent(format!("this is no answer of Redis: {line:?}"));
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(strange)?;
        match kind {
            "-" => return Err(AskError::Silent(rest.to_owned())),
            "+" | ":" => texts.push(rest.to_owned()),
            "*" => return rest.parse().map_err(|_| strange()),
            "$" => {
                let length: usize = rest.parse().map_err(|_| strange())?;
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text).await?;
                text.truncate(length);
                texts.push(String::from_utf8_lossy(&text).into_owned());
            }
            _ => return Err(strange()),
        }
        Ok(0)
    }
}
