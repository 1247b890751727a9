//! TCP alone, and with TLS as tokio-rustls does it.

use crate::meter::{receive, send};
use libp2p::{identity::Keypair, tls};
use rustls::crypto::aws_lc_rs::cipher_suite;
use std::sync::Arc;
use tokio::{
    io::split,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub async fn connect(to: Option<&str>) -> TcpStream {
    let tcp = match to {
        Some(to) => TcpStream::connect(to).await.unwrap(),
        None => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            println!("{}", listener.local_addr().unwrap());
            listener.accept().await.unwrap().0
        }
    };
    tcp.set_nodelay(true).unwrap();
    tcp
}

pub async fn plain(to: Option<&str>, total: u64) {
    let mut tcp = connect(to).await;
    let (mut back, mut out) = tcp.split();
    match to {
        Some(_) => send(&mut out, &mut back, total).await,
        None => receive(&mut back, &mut out, total).await,
    }
}

#[derive(Clone, Copy)]
pub enum Cipher {
    Aes,
    ChaCha,
}

pub async fn tls(to: Option<&str>, total: u64, cipher: Cipher) {
    let tcp = connect(to).await;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![match cipher {
        Cipher::Aes => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Cipher::ChaCha => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    }];
    let provider = Arc::new(provider);
    let key = Keypair::generate_ed25519();
    let (certificate, secret) = tls::certificate::generate(&key).unwrap();
    if to.is_some() {
        let verifier = Arc::new(Anyone(Arc::clone(&provider)));
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from("bench").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let (mut back, mut out) = split(connector.connect(name, tcp).await.unwrap());
        send(&mut out, &mut back, total).await;
    } else {
        let secret = rustls::crypto::aws_lc_rs::sign::any_supported_type(&secret).unwrap();
        let ours = rustls::sign::CertifiedKey::new(vec![certificate], secret);
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(ours)));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (mut inn, mut back) = split(acceptor.accept(tcp).await.unwrap());
        receive(&mut inn, &mut back, total).await;
    }
}

/// Takes any certificate: what is measured comes after the handshake.
#[derive(Debug)]
pub struct Anyone(pub Arc<rustls::crypto::CryptoProvider>);

mod takes_anyone {
    use super::Anyone;
    use rustls::{
        DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        pki_types::{CertificateDer, ServerName, UnixTime},
    };

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
