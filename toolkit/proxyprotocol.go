package toolkit

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/pires/go-proxyproto"
)

// ProxyProtocol has TCP connections from the networks, as "10.0.0.0/8" or
// "192.0.2.1", begin with a header of the PROXY protocol, version 1 or 2
// (https://www.haproxy.org/download/3.4/doc/proxy-protocol.txt), and gives the client's
// address in it to handlers, by ctx.RemoteAddr and ClientIP, and to the logs. A
// connection from there without a header, or with one that is broken or of more than
// 4 kB, is closed, as the specification wants it; one from elsewhere is served as it is. With TLS,
// the header comes before it. Where it names no IP address, as that of a proxy's own health
// checks, the address is that of the connection.
//
// The header has to come within ReadHeaderTimeout; see lifecycle.Server.Preface. The
// default expects none.
func (b *Builder) ProxyProtocol(networks ...string) *Builder {
	b.proxyNetworks, b.proxied = slices.Clone(networks), true
	return b
}

// preface is what lifecycle is to call for each connection, nil for nothing.
func (b *Builder) preface() (func(net.Conn) (net.Addr, error), error) {
	if !b.proxied {
		return nil, nil //nolint:nilnil // nothing to call is no error
	}
	proxies, err := parseNetworks(b.proxyNetworks)
	if err != nil {
		return nil, fmt.Errorf("toolkit: ProxyProtocol(%q): %w", b.proxyNetworks, err)
	}
	return func(nc net.Conn) (net.Addr, error) {
		if !proxies.has(ipOf(nc.RemoteAddr())) {
			return nil, nil //nolint:nilnil // the connection's own address
		}
		return readProxyHeader(nc)
	}, nil
}

// The sizes of headers, from the specification; that of version 2 is what the library takes.
const (
	leastHeader = len("PROXY UNKNOWN\r\n") // of both versions
	maxHeaderV1 = 107
	fixedV2     = 16
)

// readProxyHeader reads a header and not one byte more, and returns the address in it,
// nil if it has none. The library would read on, or want version 1 in one piece:
// it gets the header when it is complete.
func readProxyHeader(r io.Reader) (net.Addr, error) {
	header := make([]byte, leastHeader, maxHeaderV1)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	var err error
	switch {
	case bytes.HasPrefix(header, proxyproto.SIGV1):
		header, err = readV1(r, header)
	case bytes.HasPrefix(header, proxyproto.SIGV2):
		header, err = readV2(r, header)
	default:
		err = proxyproto.ErrNoProxyProtocol
	}
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(header, proxyproto.SIGV2) && header[12] == byte(proxyproto.PROXY) && header[13] == byte(proxyproto.UNSPEC) {
		return nil, nil //nolint:nilnil // the connection's own address; the library refuses it
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return nil, err
	}
	if tcp, ok := h.SourceAddr.(*net.TCPAddr); ok && h.Command.IsProxy() {
		return tcp, nil
	}
	return nil, nil //nolint:nilnil // the connection's own address
}

// readV1 reads on to the line's end.
func readV1(r io.Reader, header []byte) ([]byte, error) {
	for header[len(header)-1] != '\n' {
		n := 2 // "\r\n" at least is to come
		if header[len(header)-1] == '\r' {
			n = 1
		}
		if len(header)+n > maxHeaderV1 {
			return nil, proxyproto.ErrVersion1HeaderTooLong
		}
		var err error
		if header, err = readMore(r, header, n); err != nil {
			return nil, err
		}
	}
	return header, nil
}

// readV2 reads on for as many bytes as the header says.
func readV2(r io.Reader, header []byte) ([]byte, error) {
	header, err := readMore(r, header, fixedV2-len(header))
	if err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint16(header[fixedV2-2:])
	if length > proxyproto.MaxV2HeaderSize {
		return nil, proxyproto.ErrInvalidLength
	}
	return readMore(r, header, int(length))
}

// readMore appends n bytes to header.
func readMore(r io.Reader, header []byte, n int) ([]byte, error) {
	end := len(header)
	header = slices.Grow(header, n)[:end+n]
	_, err := io.ReadFull(r, header[end:])
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // that it ends before it begins is another thing
	}
	return header, err
}
