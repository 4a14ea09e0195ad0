use super::*;

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

/// The example that the libraries of Standard Webhooks are tested with.
#[test]
fn a_signature_is_that_of_the_published_example() {
    let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let (id, time, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(signatures(std::slice::from_ref(&secret), id, time, body), expected);
    for other in [
        signatures(std::slice::from_ref(&secret), "msg_other", time, body),
        signatures(std::slice::from_ref(&secret), id, time + 1, body),
        signatures(std::slice::from_ref(&secret), id, time, b"{}"),
        signatures(&[Secret::of_random([7; 32])], id, time, body),
    ] {
        assert_ne!(other, expected);
    }
    let both = signatures(&[Secret::of_random([7; 32]), secret], id, time, body);
    assert_eq!(both.split(' ').count(), 2);
    assert!(both.ends_with(expected), "{both}");
}

#[test]
fn a_secret_has_24_to_64_bytes_and_is_not_shown() {
    let of = |length: usize| format!("whsec_{}", STANDARD.encode(vec![9; length]));
    for (length, is_right) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
        assert_eq!(Secret::parse(&of(length)).is_ok(), is_right, "{length}");
    }
    assert_eq!(secret(&of(32)).reveal(), of(32));
    assert!(Secret::parse(of(32).trim_start_matches("whsec_")).is_err());
    assert!(Secret::parse("whsec_not base64 of anything at all, really!").is_err());
    assert_eq!(format!("{:?}", secret(&of(32))), "Secret");
    assert_eq!(Secret::of_random([1; 32]).reveal().len(), 6 + 44);
}

#[test]
fn addresses_that_are_nobodys_on_the_internet_are_private() {
    for (address, what) in [
        ("0.0.0.0", "this network"),
        ("0.1.2.3", "this network"),
        ("10.0.0.1", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.1", "carrier"),
        ("100.127.255.255", "carrier"),
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "protocols"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "relay"),
        ("192.168.178.1", "private"),
        ("198.18.0.1", "benchmarks"),
        ("198.19.255.255", "benchmarks"),
        ("198.51.100.7", "documentation"),
        ("203.0.113.7", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.1.2.3", "private"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::127.0.0.1", "loopback"),
        ("::ffff:0:192.168.0.1", "private"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b:1::1", "translation"),
        ("2002:7f00:1::", "loopback"),
        ("2002:c0a8:101::1", "private"),
        ("fc00::1", "unique local"),
        ("fd12:3456::1", "unique local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("2001:0:53aa::1", "protocols"),
        ("5f00::1", "routing"),
        ("100::1", "nobody"),
        ("4000::1", "nobody"),
    ] {
        let why = why_private(address.parse().unwrap());
        assert!(why.is_some_and(|why| why.contains(what)), "{address} is {why:?}");
    }
    for address in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "::ffff:1.1.1.1",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450::1",
    ] {
        assert_eq!(why_private(address.parse().unwrap()), None, "{address}");
    }
}

#[test]
fn an_endpoint_is_a_public_address_of_https_unless_others_are_allowed() {
    for (text, public, private) in [
        ("https://example.com/hook?a=b", true, true),
        ("https://example.com:8443", true, true),
        ("https://1.1.1.1/", true, true),
        ("http://example.com/", false, true),
        ("https://127.0.0.1/", false, true),
        ("https://2130706433/", false, true),
        ("https://0x7f.1/", false, true),
        ("https://[::1]/", false, true),
        ("https://[::ffff:169.254.169.254]/", false, true),
        ("http://localhost:8080/", false, true),
        ("ftp://example.com/", false, false),
        ("file:///etc/passwd", false, false),
        ("https://user:secret@example.com/", false, false),
        ("https://example.com/#there", false, false),
        ("example.com", false, false),
        ("https://", false, false),
        ("", false, false),
    ] {
        assert_eq!(Endpoint::parse(text, false).is_ok(), public, "{text}");
        assert_eq!(Endpoint::parse(text, true).is_ok(), private, "{text}");
    }
    let long = format!("https://example.com/{}", "a".repeat(URL_BYTES_MAX));
    assert!(Endpoint::parse(&long, true).is_err());
    let why = Endpoint::parse("https://10.0.0.1/", false).unwrap_err();
    assert!(why.contains("a private address") && why.contains("--allow-private-webhooks"), "{why}");
}
