package debug

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // of the page
	"encoding/base64"
	"sync"

	"github.com/valyala/fasthttp"
)

//go:embed page/page.html
var pageHTML []byte

//go:embed page/page.css
var pageCSS []byte

//go:embed page/page.js
var pageJS []byte

// page is the page, with its style and its script in it, and the policy that lets a browser
// heed nothing but these.
var page = sync.OnceValues(func() (html []byte, policy string) {
	html = bytes.Replace(pageHTML, []byte("/* page.css */"), pageCSS, 1)
	html = bytes.Replace(html, []byte("/* page.js */"), pageJS, 1)
	return html, "default-src 'none'; img-src data:; connect-src 'self'; style-src " + hash(pageCSS) + "; script-src " + hash(pageJS) +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
})

// hash is a source of Content Security Policy Level 3, section 2.3.1.
func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (*view) servePage(ctx *fasthttp.RequestCtx) {
	html, policy := page()
	ctx.Response.Header.Set(fasthttp.HeaderContentSecurityPolicy, policy)
	ctx.Response.Header.Set(fasthttp.HeaderXFrameOptions, "DENY")
	ctx.Response.Header.Set(fasthttp.HeaderReferrerPolicy, "no-referrer")
	ctx.SetContentType("text/html; charset=utf-8")
	ctx.SetBody(html)
}
