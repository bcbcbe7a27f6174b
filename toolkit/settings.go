package toolkit

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lastcall-go/lastcall/lifecycle"
)

// Setting is what a call of the Builder has set, or its default.
type Setting struct {
	Call    string `json:"call"`
	Value   string `json:"value"`
	Default bool   `json:"default"`
}

// Settings returns what the server was built with, for people: as it is in effect, with
// what Configure has changed and TerminationGracePeriod derived.
func (s *Server) Settings() []Setting { return append([]Setting(nil), s.settings...) }

// settings is the configuration of what was built. A value is a default if a server of
// New has it too.
func (b *Builder) settings(h *fasthttp.Server, l *lifecycle.Server) []Setting {
	settings, plain := b.values(h, l), New()
	bare := &Server{}
	plainHTTP := plain.newHTTP(nil, bare)
	plain.finishHTTP(plainHTTP, bare, newBodyLimits(nil))
	for i, def := range plain.values(plainHTTP, plain.newLifecycle(plainHTTP, bare)) {
		settings[i].Default = settings[i].Value == def.Value
	}
	return settings
}

// values are the settings in the order in which a connection meets them, and then the
// drain: always as many.
func (b *Builder) values(h *fasthttp.Server, l *lifecycle.Server) (all []Setting) {
	add := func(call, value string) { all = append(all, Setting{Call: call, Value: value}) }
	add("Addr", orNone(strings.Join(b.addrs, ", ")))
	add("Unix", orNone(b.unix))
	add("Listener", countText(len(b.listeners)))
	add("TLS", onOff(h.TLSConfig != nil))
	add("ProxyProtocol", orNone(strings.Join(b.proxyNetworks, ", ")))
	add("TrustedProxies", orNone(strings.TrimSpace(b.trustHeader+" "+strings.Join(b.trustNetworks, ", "))))
	add("MaxConns", countText(cmp.Or(h.Concurrency, fasthttp.DefaultConcurrency)))
	add("MaxConnsPerIP", countText(h.MaxConnsPerIP))
	add("TLSHandshakeTimeout", timeText(l.TLSHandshakeTimeout))
	add("ReadHeaderTimeout", timeText(h.ReadTimeout))
	add("ReadBodyTimeout", timeText(b.readBodyTimeout))
	add("MinReadRate", rateText(l.MinReadRate))
	add("MaxHeaderSize", fmt.Sprintf("%d B", h.ReadBufferSize))
	add("MaxBodySize", fmt.Sprintf("%d B", h.MaxRequestBodySize))
	add("StreamRequestBody", onOff(h.StreamRequestBody))
	add("Strict", onOff(b.strict))
	inFlight := countText(b.maxInFlight)
	if b.maxInFlight > 0 {
		inFlight += fmt.Sprintf(", wait %v", b.maxWait)
	}
	add("MaxInFlight", inFlight)
	add("WriteTimeout", timeText(h.WriteTimeout))
	add("MinWriteRate", rateText(l.MinWriteRate))
	add("KeepAlive", onOff(!h.DisableKeepalive))
	add("IdleTimeout", timeText(h.IdleTimeout))
	add("ParkAfter", timeText(l.ParkAfter))
	add("MaxRequestsPerConn", countText(h.MaxRequestsPerConn))
	add("MaxConnAge", timeText(l.MaxConnAge))
	add("NetHTTP", countText(len(b.netHTTP)))
	add("HTTP2", onOff(b.speaksHTTP2()))
	add("HealthPaths", orNone(strings.TrimSpace(b.livez+" "+b.readyz)))
	add("ReadyTimeout", timeText(b.readyTimeout))
	add("TerminationGracePeriod", timeText(b.gracePeriod))
	add("ShutdownDelay", timeText(l.ShutdownDelay))
	lastCall := timeText(l.LastCall)
	if l.LastCall == UntilIdle {
		lastCall = "until idle"
	}
	add("LastCall", lastCall)
	add("DrainTimeout", timeText(l.DrainTimeout))
	add("AbortTimeout", timeText(l.AbortTimeout))
	add("HookTimeout", timeText(l.HookTimeout))
	return all
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// timeText is a duration that means none where it is zero, or as good as for ever.
func timeText(d time.Duration) string {
	if d <= 0 || d >= forever {
		return "none"
	}
	return d.String()
}

func countText(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}

func rateText(r lifecycle.Rate) string {
	if r.Bytes == 0 {
		return "none"
	}
	return fmt.Sprintf("%d B in %v", r.Bytes, r.Per)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
