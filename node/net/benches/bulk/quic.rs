//! quinn with its own settings.

use crate::{
    meter::{receive, send},
    tcp::Anyone,
};
use libp2p::{identity::Keypair, tls};
use quinn::{
    ClientConfig, Endpoint, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use std::sync::Arc;

pub async fn run(to: Option<&str>, total: u64) {
    let here = "127.0.0.1:0".parse().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    if let Some(to) = to {
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth();
        let mut endpoint = Endpoint::client(here).unwrap();
        let config = QuicClientConfig::try_from(config).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(config)));
        let connection = endpoint
            .connect(to.parse().unwrap(), "bench")
            .unwrap()
            .await
            .unwrap();
        let (mut out, mut back) = connection.open_bi().await.unwrap();
        send(&mut out, &mut back, total).await;
        connection.close(0_u32.into(), b"");
        endpoint.wait_idle().await;
    } else {
        let (certificate, secret) = tls::certificate::generate(&Keypair::generate_ed25519()).unwrap();
        let secret = rustls::crypto::aws_lc_rs::sign::any_supported_type(&secret).unwrap();
        let ours = rustls::sign::CertifiedKey::new(vec![certificate], secret);
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(ours)));
        let config = QuicServerConfig::try_from(config).unwrap();
        let endpoint = Endpoint::server(ServerConfig::with_crypto(Arc::new(config)), here).unwrap();
        println!("{}", endpoint.local_addr().unwrap());
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut back, mut inn) = connection.accept_bi().await.unwrap();
        receive(&mut inn, &mut back, total).await;
    }
}
