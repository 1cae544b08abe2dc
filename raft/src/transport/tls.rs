//! Mutual TLS 1.3 between nodes.
//!
//! Each node has a certificate from the cluster's own authority, and that certificate says which
//! node of which cluster it is: among its DNS names stands `node-ID.cluster-CLUSTER.hardlog`, the
//! cluster in hexadecimal of 16 digits ([`Tls::name_of`]).
//! The node that connects checks the name of the node it means; the node that accepts checks the
//! name of the node that the hello claims, and that this one is a member now. So a certificate that
//! was issued to a node that has left, or to a node of another cluster, opens nothing.
//!
//! Above: `inbound` and `outbound` through [`Wire`]. Below: rustls, with ring.
//!
//! What it does not do: revocation lists (remove the member instead), and reading renewed files
//! without a restart.

use std::{
    fmt,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    client::verify_server_name,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
    version::TLS13,
};

use super::{Security, Socket, Wire, frame::bad};
use crate::message::NodeId;

/// The certificates of a node, checked and ready.
#[derive(Clone)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is missing, or holds no such thing in PEM.
    #[error("{path} is not what it should be, in PEM")]
    Pem {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificates and key do not fit together, or are not what TLS takes.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

impl Tls {
    /// Reads the certificate of the authority that nodes are accepted from, this node's own
    /// certificate with whatever stands between the two, and its private key; all in PEM.
    ///
    /// # Errors
    /// [`TlsError::Pem`] for a file, [`TlsError::Unusable`] for what is in it.
    pub fn from_files(authority: &Path, chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            let wrong = |source| TlsError::Pem { path: path.display().to_string(), source };
            let found: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
            match found.map_err(wrong)? {
                none if none.is_empty() => Err(wrong(pem::Error::NoItemsFound)),
                found => Ok(found),
            }
        };
        let (authority, chain) = (certificates(authority)?, certificates(chain)?);
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|source| TlsError::Pem { path: key.display().to_string(), source })?;
        Self::new(authority, &chain, &key)
    }

    /// The same from what the files hold.
    ///
    /// # Errors
    /// [`TlsError::Unusable`].
    pub fn new(
        authority: Vec<CertificateDer<'static>>,
        chain: &[CertificateDer<'static>],
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let unusable = |error: &dyn fmt::Display| TlsError::Unusable(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in authority {
            roots.add(certificate).map_err(|e| unusable(&e))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|e| unusable(&e))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|e| unusable(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.to_vec(), key.clone_key())
            .map_err(|e| unusable(&e))?;
        // Nodes stay connected, and the one that connects reads nothing after the hello.
        server.send_tls13_tickets = 0;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|e| unusable(&e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.to_vec(), key.clone_key())
            .map_err(|e| unusable(&e))?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    /// The DNS name that the certificate of `node` must have.
    #[must_use]
    pub fn name_of(node: NodeId, cluster: u64) -> String {
        format!("node-{node}.cluster-{cluster:016x}.hardlog")
    }
}

/// Nothing of a key is ever shown.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Security for Tls {
    fn connect(&self, socket: Socket, node: NodeId, cluster: u64) -> io::Result<Box<dyn Wire>> {
        let name = server_name(node, cluster)?;
        let connection =
            ClientConnection::new(Arc::clone(&self.client), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Box::new(Outgoing(stream)))
    }

    fn accept(&self, socket: Socket) -> io::Result<Box<dyn Wire>> {
        let connection =
            ServerConnection::new(Arc::clone(&self.server)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Box::new(Incoming(stream)))
    }
}

fn server_name(node: NodeId, cluster: u64) -> io::Result<ServerName<'static>> {
    ServerName::try_from(Tls::name_of(node, cluster)).map_err(|error| bad(error.to_string()))
}

/// A connection that this node opened; its peer's name was checked by the handshake.
struct Outgoing(StreamOwned<ClientConnection, Socket>);

/// A connection that a peer opened; its certificate is of the authority, its name not yet known.
struct Incoming(StreamOwned<ServerConnection, Socket>);

impl Wire for Outgoing {
    /// The handshake ended well only with the name that was asked for.
    fn is(&self, _node: NodeId, _cluster: u64) -> bool {
        true
    }

    fn socket(&mut self) -> &mut Socket {
        &mut self.0.sock
    }
}

impl Wire for Incoming {
    fn is(&self, node: NodeId, cluster: u64) -> bool {
        let certificate = self.0.conn.peer_certificates().and_then(<[_]>::first);
        let parsed = certificate.and_then(|der| ParsedCertificate::try_from(der).ok());
        let name = server_name(node, cluster).ok();
        parsed.zip(name).is_some_and(|(parsed, name)| verify_server_name(&parsed, &name).is_ok())
    }

    fn socket(&mut self) -> &mut Socket {
        &mut self.0.sock
    }
}

macro_rules! through {
    ($($of:ident),*) => { $(
        impl Read for $of {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.read(buf)
            }
        }
        impl Write for $of {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.0.write(buf)
            }
            fn flush(&mut self) -> io::Result<()> {
                self.0.flush()
            }
        }
    )* };
}

through!(Outgoing, Incoming);
