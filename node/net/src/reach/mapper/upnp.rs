//! Asking a router for a port by UPnP (Internet Gateway Device, versions 1 and 2): found by multicast, asked by SOAP.
//!
//! What a router says is taken as if a stranger had written it: it must answer from its own address, no answer is
//! larger than 64 KiB, and only numbers and IP addresses are taken out of it.

use super::{
    Granted, Kind, MapError,
    http::{self, Answer},
};
use crate::reach::{Scope, scope_of};
use rustix::net::sockopt;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{net::UdpSocket, time::timeout_at};

/// Where routers listen for searches.
pub(super) const SEARCH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 1900);
/// Routers answer a search within this time …
const FOUND: Duration = Duration::from_secs(3);
/// … as asked for, in seconds: they spread their answers over it.
const SPREAD: u32 = 2;
/// Devices looked at: a household has a handful.
const MAX_DEVICES: usize = 8;
/// What is searched for.
const TARGETS: [&str; 2] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
];
/// Services that open ports, best first.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// Errors of the service: the port belongs to somebody else; it gives ports for ever only.
const CONFLICT: u16 = 718;
const PERMANENT_ONLY: u16 = 725;
/// Other ports tried when the wanted one is taken.
const OTHER_PORTS: u16 = 4;
/// Longest lifetime that counts when a router gives a port for ever: it is asked again anyhow.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// A router that opens ports.
#[derive(Debug, Clone)]
pub(super) struct Upnp {
    at: SocketAddr,
    path: String,
    service: String,
    local: Ipv4Addr,
    /// Whether it gives ports for ever only.
    permanent: bool,
}

/// Searches for a router that opens ports to this address.
pub(super) async fn search(local: Ipv4Addr, to: SocketAddr) -> Result<Upnp, MapError> {
    let socket = UdpSocket::bind((local, 0)).await?;
    if to.ip().is_multicast() {
        sockopt::set_ip_multicast_if(&socket, &local).map_err(std::io::Error::from)?;
    }
    for target in TARGETS {
        let search = format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: {SPREAD}\r\nST: {target}\r\n\r\n"
        );
        socket.send_to(search.as_bytes(), to).await?;
    }
    let deadline = Instant::now() + FOUND;
    let mut seen = BTreeSet::new();
    let mut last = MapError::Silent;
    let mut buffer = [0; 2048];
    while seen.len() < MAX_DEVICES {
        let Ok(heard) = timeout_at(deadline.into(), socket.recv_from(&mut buffer)).await else {
            break;
        };
        let (len, from) = heard?;
        let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned();
        let Some((at, path)) = location(&text, from) else {
            continue;
        };
        if seen.insert((at, path.clone())) {
            match describe(at, &path, local).await {
                Ok(found) => return Ok(found),
                Err(e) => last = e,
            }
        }
    }
    Err(last)
}

/// Where a device describes itself: at its own address, inside.
fn location(text: &str, from: SocketAddr) -> Option<(SocketAddr, String)> {
    let line = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case("location").then(|| value.trim())
    })?;
    let (at, path) = url(line)?;
    let inside = matches!(scope_of(at.ip()), Scope::Private | Scope::Link | Scope::Loopback);
    (at.ip() == from.ip() && inside).then_some((at, path))
}

/// Takes `http://IP:PORT/PATH` apart. Names are not looked up.
fn url(text: &str) -> Option<(SocketAddr, String)> {
    let rest = text.strip_prefix("http://")?;
    let (host, path) = match rest.find('/') {
        Some(at) => (rest.get(..at)?, rest.get(at..)?),
        None => (rest, "/"),
    };
    let at = match host.parse::<SocketAddr>() {
        Ok(at) => at,
        Err(_) => SocketAddr::new(host.parse::<IpAddr>().ok()?, 80),
    };
    plain(path).then(|| (at, path.to_owned()))
}

/// Whether a path can stand in the first line of a request.
fn plain(path: &str) -> bool {
    path.len() <= 512 && path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic())
}

async fn describe(at: SocketAddr, path: &str, local: Ipv4Addr) -> Result<Upnp, MapError> {
    let answer = http::ask(at, &format!("GET {path}"), "", "").await?;
    for service in SERVICES {
        let found = answer.body.split("<service>").skip(1).find_map(|block| {
            let block = block.split("</service>").next()?;
            (tag(block, "serviceType")? == service).then(|| tag(block, "controlURL"))?
        });
        let Some(control) = found else { continue };
        let control = control.trim();
        let (at, path) = if control.starts_with("http://") {
            url(control)
                .filter(|(to, _)| to.ip() == at.ip())
                .ok_or(MapError::Odd)?
        } else if control.starts_with('/') {
            (at, control.to_owned())
        } else {
            (at, format!("/{control}"))
        };
        if !plain(&path) {
            return Err(MapError::Odd);
        }
        return Ok(Upnp {
            at,
            path,
            service: service.to_owned(),
            local,
            permanent: false,
        });
    }
    Err(MapError::NoService)
}

/// The text of the first element of this name.
fn tag<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let from = xml.find(&format!("<{name}>"))?;
    let text = xml.get(from..)?.split_once('>')?.1;
    text.split_once("</").map(|(text, _)| text)
}

impl Upnp {
    /// Opens a port.
    pub(super) async fn map(
        &mut self,
        kind: Kind,
        port: u16,
        outside: u16,
        lifetime: Duration,
    ) -> Result<Granted, MapError> {
        let answer = self.action("GetExternalIPAddress", "").await?;
        let ip = tag(&answer.body, "NewExternalIPAddress")
            .and_then(|ip| ip.trim().parse::<Ipv4Addr>().ok())
            .ok_or(MapError::Odd)?;
        let mut wanted = outside;
        for _ in 0..OTHER_PORTS.saturating_mul(2) {
            let lease = if self.permanent { 0 } else { lifetime.as_secs() };
            let arguments = format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{wanted}</NewExternalPort><NewProtocol>{}</NewProtocol>\
                 <NewInternalPort>{port}</NewInternalPort><NewInternalClient>{}</NewInternalClient><NewEnabled>1</NewEnabled>\
                 <NewPortMappingDescription>hivenode</NewPortMappingDescription><NewLeaseDuration>{lease}</NewLeaseDuration>",
                kind.name(),
                self.local
            );
            match self.action("AddPortMapping", &arguments).await {
                Ok(_) => {
                    let lifetime = if self.permanent { FOR_EVER } else { lifetime };
                    return Ok(Granted {
                        ip,
                        port: wanted,
                        lifetime,
                    });
                }
                Err(MapError::Upnp(PERMANENT_ONLY)) if !self.permanent => self.permanent = true,
                Err(MapError::Upnp(CONFLICT)) if wanted < outside.saturating_add(OTHER_PORTS) => {
                    wanted = wanted.saturating_add(1);
                }
                Err(e) => return Err(e),
            }
        }
        Err(MapError::Upnp(CONFLICT))
    }

    /// Closes a port.
    pub(super) async fn unmap(&self, kind: Kind, outside: u16) -> Result<(), MapError> {
        let arguments = format!(
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>{outside}</NewExternalPort><NewProtocol>{}</NewProtocol>",
            kind.name()
        );
        self.action("DeletePortMapping", &arguments).await.map(|_| ())
    }

    async fn action(&self, name: &str, arguments: &str) -> Result<Answer, MapError> {
        let service = &self.service;
        let headers =
            format!("Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"{service}#{name}\"\r\n");
        let body = format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{name} xmlns:u=\"{service}\">\
             {arguments}</u:{name}></s:Body></s:Envelope>"
        );
        let answer = http::ask(self.at, &format!("POST {}", self.path), &headers, &body).await?;
        if answer.status == 200 {
            return Ok(answer);
        }
        let code = tag(&answer.body, "errorCode").and_then(|code| code.trim().parse().ok());
        Err(match code {
            Some(code) => MapError::Upnp(code),
            None => MapError::Refused(format!("HTTP status {}", answer.status)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_device_is_asked_only_at_its_own_address_inside() {
        let from: SocketAddr = "192.168.1.1:1900".parse().unwrap();
        let at = |location: &str| {
            super::location(&format!("HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n"), from)
        };
        assert_eq!(
            at("http://192.168.1.1:5000/desc.xml"),
            Some(("192.168.1.1:5000".parse().unwrap(), "/desc.xml".to_owned()))
        );
        assert!(at("http://192.168.1.1/d").is_some());
        for wrong in [
            "http://192.168.1.2:5000/desc.xml",
            "http://203.0.113.5:80/x",
            "https://192.168.1.1/x",
            "http://router.local/x",
            "http://192.168.1.1:5000/a b",
            "",
        ] {
            assert!(at(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn elements_are_found_and_broken_ones_are_not() {
        let xml = "<a><serviceType>x</serviceType><controlURL>/ctl</controlURL></a>";
        assert_eq!(tag(xml, "controlURL"), Some("/ctl"));
        assert_eq!(tag(xml, "other"), None);
        assert_eq!(tag("<controlURL>/ctl", "controlURL"), None);
    }
}
