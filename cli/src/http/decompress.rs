//! Decompressing a response while it is written (RFC 9110 section 8.4). However far it expands, it is never in memory as a whole.

use std::io::{self, Write};

use brotli_decompressor::{BrotliDecoderParameter, DecompressorWriter};
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, HeaderMap};

use crate::http::body::{Output, WriteError};
use crate::ui::failure::{Code, Failure};

/// The value of Accept-Encoding.
pub(crate) const ACCEPTED: &str = "deflate, gzip, br";

/// Bytes that are decompressed at once.
const BUFFER: usize = 64 << 10;

/// Codings that a server may apply to one response. More are an attack.
const MAX_CODINGS: usize = 3;

/// A body on its way to where it is written.
pub(crate) enum Body {
    Plain(Output),
    Coded {
        layer: Box<dyn Layer>,
        /// Whether there was any of it: a response to HEAD has a coding and no body.
        is_begun: bool,
    },
}

impl Body {
    /// A body as it comes.
    pub(crate) fn plain(out: Output) -> Self {
        Self::Plain(out)
    }

    /// A body that is decompressed as its headers say.
    ///
    /// # Errors
    /// A coding is unknown.
    pub(crate) fn decompressed(out: Output, headers: &HeaderMap) -> Result<Self, Failure> {
        let codings = codings(headers);
        if codings.is_empty() {
            return Ok(Self::plain(out));
        }
        if codings.len() > MAX_CODINGS {
            return Err(Failure::new(Code::Failed, "the response is compressed more than three times"));
        }
        let unknown = |coding| {
            let what = format!("the response is compressed as {coding:?}, which was not asked for");
            Failure::new(Code::Failed, what).hint("to save it as it is, leave out --compressed")
        };
        Ok(Self::Coded { layer: layers(out, &codings).map_err(unknown)?, is_begun: false })
    }

    /// Whether the reader of stdout has closed it.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self {
            Self::Plain(out) => out.is_closed(),
            Self::Coded { layer, .. } => layer.sink().out.is_closed(),
        }
    }

    /// Writes pieces of the body.
    pub(crate) fn write(&mut self, pieces: &[Bytes]) -> Result<(), WriteError> {
        match self {
            Self::Plain(out) => out.write(pieces),
            Self::Coded { layer, is_begun } => {
                for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                    *is_begun = true;
                    if let Err(error) = layer.write_all(piece) {
                        // Nobody needs the rest
                        return if layer.sink().out.is_closed() { Ok(()) } else { Err(failed(&mut **layer, &error)) };
                    }
                }
                Ok(())
            }
        }
    }

    /// Checks that all of it was written, and that nothing is missing.
    pub(crate) fn finish(&mut self) -> Result<(), WriteError> {
        match self {
            Self::Plain(out) => out.finish(),
            Self::Coded { layer, is_begun } => {
                if *is_begun
                    && let Err(error) = layer.end()
                    && !layer.sink().out.is_closed()
                {
                    return Err(failed(&mut **layer, &error));
                }
                layer.sink().out.finish()
            }
        }
    }
}

/// The codings that were applied to a body, in this order.
fn codings(headers: &HeaderMap) -> Vec<String> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        codings.extend(value.split(',').map(|coding| coding.trim().to_owned()).filter(|coding| !coding.is_empty()));
    }
    codings.retain(|coding| coding != "identity");
    codings
}

/// What removes codings, the last first.
///
/// # Errors
/// The coding that is unknown.
fn layers(out: Output, codings: &[String]) -> Result<Box<dyn Layer>, &str> {
    let mut layer: Box<dyn Layer> = Box::new(Sink { out, failed: None });
    for coding in codings {
        layer = match coding.as_str() {
            "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(layer)),
            "deflate" => Box::new(Inflater::new(layer)),
            "br" => Box::new(brotli(layer)),
            _ => return Err(coding),
        };
    }
    Ok(layer)
}

/// The start of a body, decompressed as far as that is possible, and not longer than `most`.
pub(crate) fn start_of(body: &[u8], headers: &HeaderMap, most: usize) -> Vec<u8> {
    let codings = codings(headers);
    let is_known = !codings.is_empty() && codings.len() <= MAX_CODINGS;
    let memory = Output::Memory { start: Vec::new(), most };
    let Some(mut layer) = Some(memory).filter(|_| is_known).and_then(|memory| layers(memory, &codings).ok()) else {
        return body.get(..most).unwrap_or(body).to_vec();
    };
    // The body may be cut, or longer: what there is of it is enough
    let _ = layer.write_all(body).and_then(|()| layer.end());
    match &mut layer.sink().out {
        Output::Memory { start, .. } => std::mem::take(start),
        _ => Vec::new(),
    }
}

/// What a layer failed with, which may be the failure of where it is written.
fn failed(layer: &mut dyn Layer, error: &io::Error) -> WriteError {
    match layer.sink().failed.take() {
        Some(failed) => failed,
        None => WriteError::Failed(Failure::new(
            Code::Failed,
            format_args!("the compressed response is damaged or incomplete: {error}"),
        )),
    }
}

/// A coding, with what takes its output.
pub(crate) trait Layer: Write {
    /// Writes what is left.
    ///
    /// # Errors
    /// The end is missing.
    fn end(&mut self) -> io::Result<()>;

    /// The last layer.
    fn sink(&mut self) -> &mut Sink;
}

/// The last layer: where the body is written.
pub(crate) struct Sink {
    out: Output,
    failed: Option<WriteError>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // However far the rest would expand, it is not decompressed
        if self.out.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.out.write(&[Bytes::copy_from_slice(bytes)]) {
            Ok(()) => Ok(bytes.len()),
            Err(failed) => {
                self.failed = Some(failed);
                Err(io::Error::other("it cannot be written"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Layer for Sink {
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sink(&mut self) -> &mut Sink {
        self
    }
}

impl Layer for MultiGzDecoder<Box<dyn Layer>> {
    fn end(&mut self) -> io::Result<()> {
        self.try_finish()?;
        self.get_mut().end()
    }

    fn sink(&mut self) -> &mut Sink {
        self.get_mut().sink()
    }
}

/// What is below a decoder of Brotli, which would try forever to write into a layer that takes nothing more.
struct Taking(Box<dyn Layer>);

impl Write for Taking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes)? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn brotli(layer: Box<dyn Layer>) -> DecompressorWriter<Taking> {
    let mut decoder = DecompressorWriter::new(Taking(layer), BUFFER);
    // A large window, which browsers do not accept either, may have a gigabyte
    decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
    decoder
}

impl Layer for DecompressorWriter<Taking> {
    fn end(&mut self) -> io::Result<()> {
        self.close()?;
        self.get_mut().0.end()
    }

    fn sink(&mut self) -> &mut Sink {
        self.get_mut().0.sink()
    }
}

/// The coding "deflate": zlib (RFC 1950), or what some servers send for it, bare DEFLATE (RFC 1951).
struct Inflater {
    /// `None` until the first two bytes tell which it is.
    inflate: Option<Decompress>,
    begun: Vec<u8>,
    is_over: bool,
    layer: Box<dyn Layer>,
}

impl Inflater {
    fn new(layer: Box<dyn Layer>) -> Self {
        Self { inflate: None, begun: Vec::new(), is_over: false, layer }
    }

    fn inflate(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(inflate) = &mut self.inflate else { return Ok(()) };
        let mut buffer = vec![0; BUFFER];
        // What stands after the end is ignored
        while !self.is_over {
            let (read, written) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(bytes, &mut buffer, FlushDecompress::None).map_err(io::Error::other)?;
            let read = usize::try_from(inflate.total_in() - read).unwrap_or(usize::MAX);
            let written = usize::try_from(inflate.total_out() - written).unwrap_or(usize::MAX);
            self.layer.write_all(buffer.get(..written).unwrap_or_default())?;
            bytes = bytes.get(read..).unwrap_or_default();
            self.is_over = status == Status::StreamEnd;
            if read == 0 && written == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Whether this is the header of zlib (RFC 1950 section 2.2).
fn is_zlib([first, second]: [u8; 2]) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

impl Write for Inflater {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.inflate.is_some() {
            self.inflate(bytes)?;
            return Ok(bytes.len());
        }
        self.begun.extend_from_slice(bytes);
        if let Some(header) = self.begun.first_chunk() {
            self.inflate = Some(Decompress::new(is_zlib(*header)));
            let begun = std::mem::take(&mut self.begun);
            self.inflate(&begun)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Layer for Inflater {
    fn end(&mut self) -> io::Result<()> {
        match self.is_over {
            true => self.layer.end(),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn sink(&mut self) -> &mut Sink {
        self.layer.sink()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use cardcase::ask::Refusal;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use hyper::header::HeaderValue;

    use super::*;

    const PAGE: &[u8] = b"<title>400 No required SSL certificate was sent</title>";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_page_that_refuses_is_recognised_in_every_coding() {
        let long = [PAGE, &vec![b' '; 1 << 20]].concat();
        for (coding, body) in [
            ("", PAGE.to_vec()),
            ("identity", PAGE.to_vec()),
            ("gzip", gzip(PAGE)),
            ("deflate", deflate(PAGE)),
            ("deflate, gzip", gzip(&deflate(PAGE))),
            ("gzip", gzip(&long)),
            // What was read is not all of it
            ("gzip", gzip(&long)[..500].to_vec()),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
            let start = start_of(&body, &headers, 64 << 10);
            assert_eq!(Refusal::from_response(400, &start), Some(Refusal::Page), "{coding} {}", body.len());
            assert!(start.len() <= 64 << 10, "{coding} {}", start.len());
        }
    }
}
