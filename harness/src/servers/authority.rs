//! Certificates made for the occasion: an authority that nobody else trusts, and what it signs.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::tls::Tls;

/// An authority made for one run or one test. Its key is in memory alone, those of what it signs are in files of the folder that
/// only their owner can read.
pub struct Authority {
    folder: PathBuf,
    ca: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret.
        f.debug_tuple("Authority").field(&self.ca).finish()
    }
}

/// Until when a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Valid {
    /// Now.
    Now,
    /// No more.
    Expired,
}

/// The two files of a certificate, in PEM.
pub type CertificateFiles = (PathBuf, PathBuf);

impl Authority {
    /// Makes one of that name, whose certificate is a file of the folder.
    ///
    /// # Errors
    /// In words, when a file cannot be written.
    pub fn create(folder: &Path, name: &str) -> Result<Self, String> {
        let mut params = named(name, Vec::new(), Valid::Now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(words)?;
        let certificate = params.self_signed(&key).map_err(words)?;
        let ca = folder.join(format!("{name}.pem"));
        write(&ca, &certificate.pem())?;
        Ok(Self { folder: folder.to_owned(), ca, issuer: Issuer::new(params, key) })
    }

    /// The file of its certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// A certificate of a server for these hosts, by names or addresses; two files that are called after the name.
    ///
    /// # Errors
    /// As [`Authority::create`].
    pub fn server(&self, name: &str, hosts: &[&str], valid: Valid) -> Result<CertificateFiles, String> {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        // etcd's gateway is a client of its own server, with the server's certificate.
        let purposes = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, named(name, hosts, valid)?, purposes)
    }

    /// A certificate of a client.
    ///
    /// # Errors
    /// As [`Authority::create`].
    pub fn client(&self, name: &str, valid: Valid) -> Result<CertificateFiles, String> {
        self.sign(name, named(name, Vec::new(), valid)?, vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// What a private server takes to speak TLS, with a certificate of its own that counts.
    ///
    /// # Errors
    /// As [`Authority::create`].
    pub fn tls(&self) -> Result<Tls, String> {
        let (cert, key) = self.server("server", &["127.0.0.1"], Valid::Now)?;
        Ok(Tls { ca: self.ca.clone(), cert, key, client: None })
    }

    fn sign(
        &self,
        name: &str,
        mut params: CertificateParams,
        purposes: Vec<ExtendedKeyUsagePurpose>,
    ) -> Result<CertificateFiles, String> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(words)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(words)?;
        let files = (self.folder.join(format!("{name}.pem")), self.folder.join(format!("{name}.key")));
        write(&files.0, &certificate.pem())?;
        write(&files.1, &key.serialize_pem())?;
        Ok(files)
    }
}

fn named(name: &str, hosts: Vec<String>, valid: Valid) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(hosts).map_err(words)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = match valid {
        Valid::Now => date_time_ymd(2120, 1, 1),
        Valid::Expired => date_time_ymd(2021, 1, 1),
    };
    Ok(params)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn words(error: rcgen::Error) -> String {
    error.to_string()
}
