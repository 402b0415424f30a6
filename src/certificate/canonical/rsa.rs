//! The numbers of RSA private keys (RFC 8017 appendix A.1.2), computed anew where they are missing or wrong.

use crypto_bigint::{BoxedUint, ConcatenatingMul, Gcd, NonZero, Odd};
use der::asn1::UintRef;
use der::{Encode, Tag};
use zeroize::Zeroizing;

use crate::certificate::curve::without_zeros;
use crate::certificate::element::{Element, encode};

/// The size of the largest number that is computed with, in bytes: OpenSSL signs with keys of up to 16,384 bits.
const MAX: usize = 2048;

type Number = Zeroizing<BoxedUint>;

/// An RSAPrivateKey of version 0 with every number as it should be: the larger prime first, CRT exponents and coefficient that
/// fit, d below n. `None` if the numbers contradict each other, or if there are more than two primes.
pub(super) fn canonical(private: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let fields: Vec<Element<'_>> = Element::only(private)?.sequence()?.collect();
    // Version, n, e, d, p, q, d mod p-1, d mod q-1, q^-1 mod p; then the other primes
    if fields.len() > 9 || fields.iter().any(|field| field.tag != Tag::Integer) {
        return None;
    }
    let field = |index: usize| fields.get(index).map(|field| without_zeros(field.body)).unwrap_or_default();
    let size = (1..9).map(|index| field(index).len()).max().filter(|size| *size <= MAX)?;
    // One precision for all, with room for the sum of two
    let precision = u32::try_from(8 * size + 64).ok()?;
    let number = |index: usize| Some(Zeroizing::new(BoxedUint::from_be_slice(field(index), precision).ok()?));
    let (n, e, d) = (number(1)?, number(2)?, number(3)?);
    let (p, q) = primes(&n, &e, &d, &number(4)?, &number(5)?)?;
    let (p, q) = if *p < *q { (q, p) } else { (p, q) };
    let d = exponent(&n, &e, d, &p, &q)?;
    let (below_p, below_q) = (minus_one(&p), minus_one(&q));
    let (dp, dq) = (remainder(&d, &below_p)?, remainder(&d, &below_q)?);
    let given = number(8)?;
    let coefficient = match product(&given, &q, &p)? == one(&p) && *given < *p {
        true => given,
        false => inverse(&q, &p)?,
    };
    let mut body = Zeroizing::new(vec![2, 1, 0]);
    for number in [&n, &e, &d, &p, &q, &dp, &dq, &coefficient] {
        let bytes = Zeroizing::new(number.to_be_bytes());
        let encoded = Zeroizing::new(UintRef::new(&bytes).ok()?.to_der().ok()?);
        body.extend_from_slice(&encoded);
    }
    encode(Tag::Sequence, &body)
}

/// The most work that [`canonical`] can take, as the number of rounds of a key derivation that take as long. Divisions are quadratic in
/// the size of the numbers, and factoring is cubic.
pub(super) fn work(private: &[u8]) -> u64 {
    let fields = Element::only(private).and_then(Element::sequence).into_iter().flatten().take(10);
    let sizes: Vec<u64> = fields.map(|field| without_zeros(field.body).len() as u64).collect();
    let size = sizes.iter().copied().max().unwrap_or_default();
    if sizes.len() > 9 || size > MAX as u64 {
        return 0;
    }
    let size_of = |index: usize| sizes.get(index).copied().unwrap_or_default();
    let is_factored = size_of(1) <= MAX_FACTORED as u64 && size_of(4) == 0 && size_of(5) == 0;
    if is_factored { size.pow(3) / 24 } else { size.pow(2) / 5 }
}

/// The primes: from a given one that divides n or, if none is given, from n, e and d.
fn primes(n: &Number, e: &Number, d: &Number, p: &Number, q: &Number) -> Option<(Number, Number)> {
    let one = one(n);
    for prime in [p, q] {
        if **prime > *one && **prime < **n {
            let (quotient, rest) = n.div_rem(&NonZero::new((**prime).clone()).into_option()?);
            if bool::from(rest.is_zero()) {
                return Some((prime.clone(), Zeroizing::new(quotient)));
            }
        }
    }
    match **p > *one || **q > *one {
        true => None,
        false => factors(n, e, d),
    }
}

/// The size of the largest modulus that is factored, in bytes.
const MAX_FACTORED: usize = 1024;

/// How often 2 may divide the multiple of p - 1 and q - 1. For real keys, it does so only a few times.
const MAX_TWOS: u32 = 256;

/// The bases that are tried. For a valid key, each of them succeeds in at least half of all cases.
const BASES: std::ops::Range<u32> = 2..18;

/// Factors n (NIST SP 800-56B, appendix C.1).
fn factors(n: &Number, e: &Number, d: &Number) -> Option<(Number, Number)> {
    if n.bit_width() as usize > 8 * MAX_FACTORED {
        return None;
    }
    let modulus = Odd::new((**n).clone()).into_option()?;
    let (one, below_n) = (one(n), minus_one(n));
    // A multiple of p - 1 and of q - 1
    let multiple = Zeroizing::new(e.concatenating_mul(&**d).wrapping_sub(&*one));
    let twos = multiple.trailing_zeros();
    if bool::from(multiple.is_zero()) || !(1..=MAX_TWOS).contains(&twos) {
        return None;
    }
    let odd = Zeroizing::new(multiple.shr(twos));
    for base in BASES {
        let base = BoxedUint::from_be_slice(&base.to_be_bytes(), n.bits_precision()).ok()?;
        let mut power = Zeroizing::new(base.pow_mod(&odd, &modulus));
        if *power == *one || *power == *below_n {
            continue;
        }
        for _ in 0..twos {
            let square = product(&power, &power, n)?;
            if *square == *one {
                let p = Zeroizing::new(minus_one(&power).gcd(n));
                let (q, rest) = n.div_rem(&NonZero::new((*p).clone()).into_option()?);
                let splits = *p > *one && bool::from(rest.is_zero());
                return splits.then(|| (p, Zeroizing::new(q)));
            }
            power = square;
            if *power == *below_n {
                break;
            }
        }
        // Then e and d do not belong to n, whatever the base
        if *power != *below_n {
            return None;
        }
    }
    None
}

/// The private exponent: the given one, if it fits the primes and is below n.
fn exponent(n: &Number, e: &Number, d: Number, p: &Number, q: &Number) -> Option<Number> {
    let (below_p, below_q) = (minus_one(p), minus_one(q));
    let is_inverse = |modulus: &Number| Some(*product(e, &d, modulus)? == *remainder(&one(n), modulus)?);
    let fits = is_inverse(&below_p)? && is_inverse(&below_q)?;
    if fits && *d < **n {
        return Some(d);
    }
    // lcm(p-1, q-1)
    let common = NonZero::new(below_p.gcd(&below_q)).into_option()?;
    let lcm = Zeroizing::new(below_p.div_rem(&common).0.checked_mul(&*below_q).into_option()?);
    if fits { remainder(&d, &lcm) } else { inverse(e, &lcm) }
}

fn one(like: &Number) -> Number {
    Zeroizing::new(BoxedUint::one_with_precision(like.bits_precision()))
}

/// One less than a number that is not zero.
fn minus_one(number: &Number) -> Number {
    Zeroizing::new(number.wrapping_sub(&*one(number)))
}

fn remainder(number: &BoxedUint, modulus: &Number) -> Option<Number> {
    Some(Zeroizing::new(number.rem(&NonZero::new((**modulus).clone()).into_option()?)))
}

fn product(a: &Number, b: &Number, modulus: &Number) -> Option<Number> {
    remainder(&Zeroizing::new(a.concatenating_mul(&**b)), modulus)
}

fn inverse(number: &Number, modulus: &Number) -> Option<Number> {
    let modulus_nz = NonZero::new((**modulus).clone()).into_option()?;
    remainder(number, modulus)?.invert_mod(&modulus_nz).into_option().map(Zeroizing::new)
}
