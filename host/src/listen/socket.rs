//! Sockets to listen on: TCP or unix. The mode of a unix socket's file does not depend on the umask. A stale socket
//! file of a killed node is replaced. One that a process still listens on is refused. The listener removes its file.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Address;

/// A bound socket.
pub struct Listener {
    socket: Bound,
    address: Address,
}

enum Bound {
    Tcp(TcpListener),
    Unix { socket: UnixListener, _file: OwnedPath },
}

/// An accepted connection.
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

/// Who may connect to a unix socket, regardless of the umask. Connecting requires write permission on its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reach {
    /// The user of the node, and root.
    Owner = 0o600,
    /// Also the group of the node. A proxy that runs as another user is added to this group.
    Group = 0o660,
}

/// Removes the socket's file when the listener is dropped.
struct OwnedPath(PathBuf);

impl Drop for OwnedPath {
    fn drop(&mut self) {
        // A failure is ignored, because the next node replaces a stale file.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds an address. `reach` applies to a unix socket. `backlog` is how many connections the kernel queues.
    ///
    /// # Errors
    /// When the address is in use or may not be bound.
    pub fn bind(address: &Address, reach: Reach, backlog: usize) -> anyhow::Result<Self> {
        let backlog = i32::try_from(backlog)?;
        let context = || format!("cannot listen on {address}");
        match address {
            Address::Tcp(tcp) => {
                let socket = Socket::new(Domain::for_address(*tcp), Type::STREAM, Some(Protocol::TCP))?;
                // A restarted node must not wait until the connections of the previous one leave TIME_WAIT.
                socket.set_reuse_address(true)?;
                socket.set_nonblocking(true)?;
                socket.bind(&SockAddr::from(*tcp)).with_context(context)?;
                socket.listen(backlog).with_context(context)?;
                let socket = TcpListener::from_std(socket.into())?;
                let address = Address::Tcp(socket.local_addr()?);
                Ok(Self { socket: Bound::Tcp(socket), address })
            }
            Address::Unix(path) => {
                remove_stale(path).with_context(context)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                socket.bind(&SockAddr::unix(path)?).with_context(context)?;
                let file = OwnedPath(path.clone());
                // The mode is set before `listen`, so no client can connect earlier.
                fs::set_permissions(path, fs::Permissions::from_mode(reach as u32)).with_context(context)?;
                socket.listen(backlog).with_context(context)?;
                let socket = UnixListener::from_std(socket.into())?;
                Ok(Self { socket: Bound::Unix { socket, _file: file }, address: address.clone() })
            }
        }
    }

    /// The address it is bound to, with the port the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection.
    ///
    /// # Errors
    /// Those of `accept(2)`.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Bound::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                // A response is one small write. Nagle's algorithm would delay its last segment by 40 ms.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Bound::Unix { socket, .. } => Ok(Stream::Unix(socket.accept().await?.0)),
        }
    }
}

/// Removes a socket file that no process listens on.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        bail!("the file exists and is not a socket");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => bail!("another process listens on it"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing a stale socket");
            Ok(fs::remove_file(path)?)
        }
        Err(error) => Err(error.into()),
    }
}
