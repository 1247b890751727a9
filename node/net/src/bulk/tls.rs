//! TLS 1.3 of bulk connections, and of mesh connections that are not QUIC: both sides prove their node keys.
//!
//! The certificates are those of the libp2p TLS specification: self-signed with a key made for the purpose, which
//! the node key signs. libp2p itself prefers ChaCha20, which costs twice the CPU of AES-GCM on machines with
//! instructions for it; here AES-GCM comes first.

use crate::{error::NetError, names};
use hive_protocol::ids::NodeId;
use libp2p::{identity::Keypair, tls::certificate};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::sync::Arc;

/// Names bulk connections in the handshake, so that no other service takes part in one by mistake.
pub(super) const ALPN: &[u8] = b"hive-bulk/1";

/// Both halves of a node's TLS.
pub(crate) struct Tls {
    client: ClientConfig,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Makes the node's certificate, for a service of this name.
    pub(crate) fn new(key: &Keypair, alpn: &[u8]) -> Result<Self, NetError> {
        let (certificate, secret) = certificate::generate(key).map_err(|e| setup(&e))?;
        let secret = aws_lc_rs::sign::any_supported_type(&secret).map_err(|e| setup(&e))?;
        let ours = Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            vec![certificate],
            secret,
        )));
        let provider = Arc::new(provider());
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| setup(&e))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NodeKey { expected: None }))
            .with_client_cert_resolver(Arc::clone(&ours) as _);
        client.alpn_protocols = vec![alpn.to_vec()];
        client.enable_sni = false;
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| setup(&e))?
            .with_client_cert_verifier(Arc::new(NodeKey { expected: None }))
            .with_cert_resolver(ours);
        server.alpn_protocols = vec![alpn.to_vec()];
        // Nothing is resumed: the token would have to be checked again all the same.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            client,
            server: Arc::new(server),
        })
    }

    /// For the side that is connected to.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For the side that connects and looks for itself whom it has met: takes every node.
    pub(crate) fn anyone(&self) -> Arc<ClientConfig> {
        Arc::new(self.client.clone())
    }

    /// For the side that connects: takes no other node than this one.
    pub(crate) fn client(&self, node: NodeId) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        let verifier = Arc::new(NodeKey { expected: Some(node) });
        config.dangerous().set_certificate_verifier(verifier);
        Arc::new(config)
    }
}

/// The server name of every handshake: nothing is sent of it, the certificate is all that counts.
pub(crate) fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4])))
}

/// The node a verified certificate belongs to; none unless there is exactly one good one of an Ed25519 key.
pub(crate) fn node_of(certificates: Option<&[CertificateDer<'_>]>) -> Option<NodeId> {
    let [only] = certificates? else {
        return None;
    };
    names::node_id(&certificate::parse(only).ok()?.peer_id())
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

fn setup(e: &dyn std::fmt::Display) -> NetError {
    NetError::Setup {
        detail: format!("TLS: {e}"),
    }
}

/// Takes certificates of node keys; of one node only where it is known which.
#[derive(Debug)]
struct NodeKey {
    expected: Option<NodeId>,
}

impl NodeKey {
    fn check(&self, certificate: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let refuse = || Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        if !more.is_empty() {
            return Err(refuse());
        }
        let node = node_of(Some(std::slice::from_ref(certificate))).ok_or_else(refuse)?;
        if self.expected.is_some_and(|expected| expected != node) {
            return Err(refuse());
        }
        Ok(())
    }

    fn signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad = |_| Error::InvalidCertificate(CertificateError::BadSignature);
        certificate::parse(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?
            .verify_signature(signed.scheme, message, signed.signature())
            .map_err(bad)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    /// What [`certificate::generate`] makes, and what other makers of such certificates use.
    fn schemes() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
        ]
    }
}

/// TLS 1.2 is not offered; if it came up all the same, nothing of it is taken.
const OLD: Error = Error::InvalidCertificate(CertificateError::BadSignature);

impl ServerCertVerifier for NodeKey {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate, more)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(OLD)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for NodeKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(certificate, more)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(OLD)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}
