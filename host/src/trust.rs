//! Signatures in the format of minisign: a detached signature lies beside what it signs, in `FILE.minisig`. A node that
//! was given public keys serves only what one of them has signed; `galo sign` signs.
//!
//! What is signed of a component is a text that `manifest` writes: the handler's name, the digest and the grants. So a
//! component that was signed for one handler cannot serve as another, or with more grants.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Cursor, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use minisign::{KeyPair, PublicKey, PublicKeyBox, SecretKey, SecretKeyBox, SignatureBox};

use crate::{file, limits};

/// What the name of a signature's file ends with.
const SUFFIX: &str = ".minisig";

/// The first line of a signature, which nothing reads.
const COMMENT: &str = "signature from galo sign";

/// The public keys that a node trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The file that they come from.
    path: PathBuf,
    keys: Vec<PublicKey>,
}

/// Why something is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It has no signature.
    #[error("it has no signature, and this node serves only what is signed: use `galo sign`")]
    Unsigned,
    /// Its signature is by another key.
    #[error("its signature is by the key {0}, which this node does not trust")]
    Foreign(String),
    /// Its signature is of something else, or was altered.
    #[error(
        "its signature does not fit: it was changed after it was signed, or, if it is a component, signed for another \
         handler or other grants; sign it again with `galo sign`"
    )]
    Broken,
    /// Its signature cannot be read as one.
    #[error("its signature is not one of minisign's: {0}")]
    Malformed(String),
}

impl Trust {
    /// Reads the public keys of a file: one or more, as `minisign -G` or `galo sign --new-key` writes them. Lines that
    /// begin with `untrusted comment:` or `#` are ignored.
    ///
    /// # Errors
    /// When it cannot be read, holds something else or no key.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let bytes = file::read(path, limits::TRUST_BYTES_MAX).with_context(|| format!("cannot read {shown}"))?;
        let text = String::from_utf8(bytes).with_context(|| format!("{shown} is not a file of public keys"))?;
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with("untrusted comment:") {
                continue;
            }
            let key = PublicKey::from_base64(line);
            let key =
                key.map_err(|error| anyhow::anyhow!("{shown}:{number}: not a public key of minisign: {error}"))?;
            keys.push(key);
        }
        ensure!(!keys.is_empty(), "{shown} has no public key: make one with `galo sign --new-key FILE`");
        Ok(Self { path: path.to_owned(), keys })
    }

    /// Refuses keys that lie in a folder that they are to protect: who can change a component could change them too.
    ///
    /// # Errors
    /// When they do, also through a link.
    pub fn outside_of(&self, folder: &Path) -> anyhow::Result<()> {
        let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
        let (keys, folder) = (real(&self.path)?, real(folder)?);
        let named = std::path::absolute(&self.path)?;
        ensure!(
            !keys.starts_with(&folder) && !named.starts_with(&folder),
            "the keys {} lie in {}, the folder that they protect: move them elsewhere",
            self.path.display(),
            folder.display()
        );
        Ok(())
    }

    /// Checks that one of the keys has signed this.
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn check(&self, signed: &[u8], signature: Option<&str>) -> Result<(), Untrusted> {
        let text = signature.ok_or(Untrusted::Unsigned)?;
        let signature = SignatureBox::from_string(text).map_err(|error| Untrusted::Malformed(error.to_string()))?;
        let key = self.keys.iter().find(|key| key.keynum() == signature.keynum());
        let key = key.ok_or_else(|| Untrusted::Foreign(key_id(signature.keynum())))?;
        let (quiet, output, allow_legacy) = (true, false, false);
        minisign::verify(key, &signature, Cursor::new(signed), quiet, output, allow_legacy)
            .map_err(|_| Untrusted::Broken)
    }
}

/// The id of a key as minisign prints it.
fn key_id(number: &[u8]) -> String {
    number.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

/// The path of a file's signature.
pub fn path_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(SUFFIX);
    name.into()
}

/// The signature that lies beside a file, if one does.
///
/// # Errors
/// When it exists and cannot be read.
pub fn beside(file: &Path) -> Result<Option<String>, file::Unreadable> {
    match file::read(&path_of(file), limits::SIGNATURE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(file::Unreadable::Absent(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A secret key that signs.
pub struct Signer(SecretKey);

impl Signer {
    /// Reads a secret key, as minisign writes it. An encrypted one needs its password.
    ///
    /// # Errors
    /// When it cannot be read, or the password is missing or wrong.
    pub fn read(path: &Path, password: Option<&str>) -> anyhow::Result<Self> {
        let shown = path.display();
        let bytes = file::read(path, limits::TRUST_BYTES_MAX).with_context(|| format!("cannot read {shown}"))?;
        let text = String::from_utf8(bytes).with_context(|| format!("{shown} is not a secret key of minisign"))?;
        ensure!(
            !text.lines().any(|line| PublicKey::from_base64(line.trim()).is_ok()),
            "{shown} is a public key, and what signs is the secret one: `galo sign --new-key FILE` writes it to FILE, and \
             the public one to FILE.pub"
        );
        let parse = || SecretKeyBox::from_string(&text);
        let key = match (parse().and_then(SecretKeyBox::into_unencrypted_secret_key), password) {
            (Ok(key), _) => Ok(key),
            (Err(_), Some(password)) => parse().and_then(|key| key.into_secret_key(Some(password.to_owned()))),
            (Err(error), None) => {
                return Err(anyhow::anyhow!("{error}")).with_context(|| {
                    format!("cannot use the secret key {shown}: if it is encrypted, set GALO_SIGN_PASSWORD")
                });
            }
        };
        key.map(Self).map_err(|error| anyhow::anyhow!("cannot use the secret key {shown}: {error}"))
    }

    /// Signs something. The comment is signed too, and shown by `minisign -V`.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign(&self, signed: &[u8], comment: &str) -> anyhow::Result<String> {
        // A line break would end the comment.
        let comment: String = comment.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let signature = minisign::sign(None, &self.0, Cursor::new(signed), Some(&comment), Some(COMMENT));
        Ok(signature.map_err(|error| anyhow::anyhow!("cannot sign: {error}"))?.into_string())
    }
}

/// Makes a pair of keys: the secret one in `path`, readable for its owner alone, the public one in `path.pub`. With a
/// password the secret key is encrypted. Returns the path of the public key.
///
/// # Errors
/// When one of the files exists already, or cannot be written.
pub fn make_keys(path: &Path, password: Option<&str>) -> anyhow::Result<PathBuf> {
    let mut public = OsString::from(path);
    public.push(".pub");
    let public = PathBuf::from(public);
    let failed = |error| anyhow::anyhow!("cannot make a key: {error}");
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.to_owned())),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let KeyPair { pk, sk } = pair.map_err(failed)?;
    let (secret, open) = (sk.to_box(None).map_err(failed)?, pk.to_box().map_err(failed)?);
    write_new(path, 0o600, &secret.into_string())?;
    write_new(&public, 0o644, &PublicKeyBox::into_string(open))?;
    Ok(public)
}

fn write_new(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let open = |path: &Path| -> std::io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    };
    let mut file = open(path).with_context(|| match path.exists() {
        true => format!("cannot write {}: a key is never replaced, so use another name", path.display()),
        false => format!("cannot write {}", path.display()),
    })?;
    file.write_all(text.as_bytes())?;
    // minisign reads lines.
    if !text.ends_with('\n') {
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(folder: &Path, name: &str, password: Option<&str>) -> (Signer, Trust) {
        let secret = folder.join(name);
        let public = make_keys(&secret, password).unwrap();
        (Signer::read(&secret, password).unwrap(), Trust::read(&public).unwrap())
    }

    #[test]
    fn only_what_a_trusted_key_has_signed_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (signer, trust) = keys(folder.path(), "a", None);
        let (stranger, _) = keys(folder.path(), "b", None);
        let signature = signer.sign(b"text", "of\na test").unwrap();
        assert_eq!(trust.check(b"text", Some(&signature)), Ok(()));
        assert_eq!(trust.check(b"tex", Some(&signature)), Err(Untrusted::Broken));
        assert_eq!(trust.check(b"text", None), Err(Untrusted::Unsigned));
        let foreign = trust.check(b"text", Some(&stranger.sign(b"text", "").unwrap()));
        assert!(matches!(&foreign, Err(Untrusted::Foreign(id)) if id.len() == 16), "{foreign:?}");
        // The comment is signed as well.
        let altered = signature.replace("of a test", "of a tess");
        assert_eq!(trust.check(b"text", Some(&altered)), Err(Untrusted::Broken));
        for wrong in ["", "untrusted comment: x", "RWQ", &signature[..signature.len() / 2]] {
            let refused = trust.check(b"text", Some(wrong));
            assert!(matches!(refused, Err(Untrusted::Malformed(_) | Untrusted::Broken)), "{wrong}: {refused:?}");
        }
        let refused = |name: &str| format!("{:#}", make_keys(&folder.path().join(name), None).unwrap_err());
        assert!(refused("a").contains("a key is never replaced"), "{}", refused("a"));
        assert!(!refused("none/a").contains("replaced"), "{}", refused("none/a"));
        let public = Signer::read(&folder.path().join("a.pub"), None).err().unwrap().to_string();
        assert!(public.contains("is a public key"), "{public}");
    }

    #[test]
    fn a_signature_of_minisign_itself_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        // The example of minisign's documentation, prehashed.
        std::fs::write(
            &path,
            "# ours\nuntrusted comment: minisign public key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n",
        )
        .unwrap();
        let signature = "untrusted comment: signature from minisign secret key\n\
            RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
            trusted comment: timestamp:1556193335\tfile:test\n\
            y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n";
        let trust = Trust::read(&path).unwrap();
        assert_eq!(trust.check(b"test", Some(signature)), Ok(()));
        assert_eq!(trust.check(b"Test", Some(signature)), Err(Untrusted::Broken));
    }

    #[test]
    fn an_encrypted_key_needs_its_password_and_keys_lie_outside_of_what_they_protect() {
        let folder = tempfile::tempdir().unwrap();
        let (_, trust) = keys(folder.path(), "a", Some("secret"));
        let secret = folder.path().join("a");
        let refused = |password| format!("{:#}", Signer::read(&secret, password).err().unwrap());
        assert!(refused(None).contains("GALO_SIGN_PASSWORD"), "{}", refused(None));
        assert!(refused(Some("wrong")).contains("cannot use the secret key"));
        assert!(trust.outside_of(folder.path()).unwrap_err().to_string().contains("move them elsewhere"));
        let (other, link) = (tempfile::tempdir().unwrap(), folder.path().join("link"));
        std::os::unix::fs::symlink(folder.path().join("a.pub"), &link).unwrap();
        assert!(trust.outside_of(other.path()).is_ok());
        let linked = other.path().join("linked");
        std::os::unix::fs::symlink(folder.path(), &linked).unwrap();
        assert!(Trust::read(&linked.join("a.pub")).unwrap().outside_of(folder.path()).is_err());
        std::fs::write(&secret, "# nothing\n").unwrap();
        assert!(Trust::read(&secret).unwrap_err().to_string().contains("has no public key"));
    }
}
