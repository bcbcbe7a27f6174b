// Package testcert makes certificates for servers on this machine: for tests, and for the
// tools in examples and benchmarks. No package that users import does so with it.
package testcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// New makes a certificate for localhost and 127.0.0.1, valid for a day and signed by itself.
// It panics where the system has no randomness.
func New() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Roots is for clients that are to trust a certificate of New, and no other.
func Roots(cert tls.Certificate) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	return roots
}

// Files writes a certificate and its key to two PEM files in a directory.
func Files(cert tls.Certificate, dir string) (certFile, keyFile string, err error) {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return "", "", err
	}
	write := func(name, kind string, der []byte) (string, error) {
		path := filepath.Join(dir, name)
		return path, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	certFile, certErr := write("cert.pem", "CERTIFICATE", cert.Certificate[0])
	keyFile, keyErr := write("key.pem", "PRIVATE KEY", key)
	return certFile, keyFile, errors.Join(certErr, keyErr)
}
