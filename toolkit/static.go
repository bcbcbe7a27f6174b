package toolkit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Static serves the files of a directory, and of those in it, below a prefix such as
// "/assets" or "/", for GET and HEAD. It does so with fasthttp's file server, so that large files go
// out by sendfile, and ranges are served.
//
// A directory is its index.html; one without is not found, as is what is not a regular file, or
// has a name that begins with a dot, /.well-known aside. Symbolic links are followed as long as
// they stay in the directory (see os.Root). What is not found is answered as NotFound says.
//
// Responses have an ETag and Last-Modified, by which clients ask whether they are up to date
// (If-None-Match, If-Range and the others), and Cache-Control: "no-cache", so that they do ask each
// time. For files whose name changes with their content, give cacheControl as "public,
// max-age=31536000, immutable". Files are opened for each request and seen as they are then; none
// is held open between requests.
//
// Where a client takes it, and the type is one that Compress takes, "app.js.br", ".zst" or
// ".gz" is served for "app.js" if it is there and not older. Types are those of the names, which for
// those of the web do not depend on the machine, or else of what the file begins with.
//
// A directory that is not there is an error from Build.
func (b *Builder) Static(prefix, dir string, cacheControl ...string) *Builder {
	b.routes = append(b.routes, staticRoutes("Static", prefix, &static{dir: dir, cacheControl: cacheControl})...)
	return b
}

// StaticFS is Static for an fs.FS, whose files have to be ones that seek: an embed.FS, for one
// directory of it fs.Sub. A file without a time of modification, as all of an embed.FS, does not
// change, and has no Last-Modified; its ETag is made of its content when it is first asked for.
func (b *Builder) StaticFS(prefix string, files fs.FS, cacheControl ...string) *Builder {
	b.routes = append(b.routes, staticRoutes("StaticFS", prefix, &static{files: files, cacheControl: cacheControl})...)
	return b
}

// Static serves the files of a directory. See Builder.Static.
func (g *Group) Static(prefix, dir string, cacheControl ...string) *Group {
	return g.mountStatic("Static", prefix, &static{dir: dir, cacheControl: cacheControl})
}

// StaticFS serves the files of an fs.FS. See Builder.StaticFS.
func (g *Group) StaticFS(prefix string, files fs.FS, cacheControl ...string) *Group {
	return g.mountStatic("StaticFS", prefix, &static{files: files, cacheControl: cacheControl})
}

func (g *Group) mountStatic(call, prefix string, st *static) *Group {
	for _, rt := range staticRoutes(g.call+"."+call, g.prefix+strings.TrimSuffix(prefix, "/"), st) {
		rt.wrap, rt.maxBody = g.wrap, g.maxBody
		g.b.routes = append(g.b.routes, rt)
	}
	return g
}

func staticRoutes(call, prefix string, st *static) []route {
	st.prefix = strings.TrimSuffix(prefix, "/")
	rt := route{call: call, path: st.prefix + "/{filepath:*}", static: st}
	get, head := rt, rt
	get.method, head.method = fasthttp.MethodGet, fasthttp.MethodHead
	return []route{get, head}
}

// static is a call of Static or StaticFS.
type static struct {
	prefix       string // without the slash at its end
	dir          string
	files        fs.FS // or nil
	cacheControl []string

	tags sync.Map // of files that do not change: names to their ETags
}

// handler makes the handler, for Build.
func (st *static) handler(notFound fasthttp.RequestHandler) (fasthttp.RequestHandler, error) {
	cacheControl := "no-cache"
	switch {
	case st.files == nil && st.dir == "":
		return nil, errors.New("no files: an empty name or nil")
	case strings.ContainsAny(st.prefix, "{}"):
		return nil, errors.New("a prefix has no parameters")
	case len(st.cacheControl) > 1:
		return nil, errors.New("more than one Cache-Control")
	case len(st.cacheControl) == 1:
		cacheControl = st.cacheControl[0]
	}
	if !saneValue(cacheControl) {
		return nil, fmt.Errorf("Cache-Control %q is not a header's value", cacheControl)
	}
	files := &fasthttp.FS{FS: st.files, Root: st.dir, AcceptByteRange: true, SkipCache: true, PathRewrite: foundPath}
	if st.files != nil {
		files.AllowEmptyRoot = true
	} else if info, err := os.Stat(st.dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%q is not a directory", st.dir)
	}
	files.PathNotFound = func(ctx *fasthttp.RequestCtx) { // gone since it was found
		ctx.Response.Reset()
		notFound(ctx)
	}
	send := files.NewRequestHandler()
	return func(ctx *fasthttp.RequestCtx) {
		f, ok := st.find(ctx)
		switch {
		case !ok:
			notFound(ctx)
			return
		case f.info.IsDir():
			redirectToDirectory(ctx)
			return
		}
		h := &ctx.Response.Header
		h.Set(fasthttp.HeaderCacheControl, cacheControl)
		if st.describe(ctx, f) {
			return
		}
		ctx.SetUserValue(foundKey{}, f)
		send(ctx)
		if f.info.ModTime().IsZero() {
			h.Del(fasthttp.HeaderLastModified)
		}
	}, nil
}

// found is a file, or a directory, that a request asks for.
type found struct {
	name string // as of fs.FS
	info fs.FileInfo
	as   *coding // how it is compressed, nil for not at all
	of   string  // the name without a coding's suffix
}

// foundKey is where fasthttp's file server finds what to send.
type foundKey struct{}

func foundPath(ctx *fasthttp.RequestCtx) []byte {
	return []byte("/" + ctx.UserValue(foundKey{}).(*found).name)
}

// find looks for what a request asks for.
func (st *static) find(ctx *fasthttp.RequestCtx) (*found, bool) {
	// What the router has matched is not decoded yet, nor rid of "..".
	rest, ok := strings.CutPrefix(string(ctx.Path()), st.prefix+"/")
	name, slash := strings.CutSuffix(rest, "/")
	if !ok || rest != "" && !saneFile(name) {
		return nil, false
	}
	if name == "" {
		name, slash = ".", true
	}
	stat, done, err := st.stats()
	if err != nil {
		return nil, false
	}
	defer done()
	info, err := stat(name)
	if err == nil && info.IsDir() && slash {
		name, slash = path.Join(name, "index.html"), false
		info, err = stat(name)
		if err == nil && info.IsDir() {
			return nil, false
		}
	}
	if err != nil || slash || !info.IsDir() && !info.Mode().IsRegular() {
		return nil, false
	}
	f := &found{name: name, info: info, of: name}
	if !info.IsDir() && len(ctx.Request.Header.Peek(fasthttp.HeaderRange)) == 0 {
		f.takeCompressed(ctx, stat)
	}
	return f, true
}

// stats returns how to look at files, and what ends that.
func (st *static) stats() (stat func(name string) (fs.FileInfo, error), done func(), err error) {
	if st.files != nil {
		return func(name string) (fs.FileInfo, error) { return fs.Stat(st.files, name) }, func() {}, nil
	}
	root, err := os.OpenRoot(st.dir)
	if err != nil {
		return nil, nil, err
	}
	return root.Stat, func() { _ = root.Close() }, nil
}

// saneFile accepts names of files that may be served.
func saneFile(name string) bool {
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(name, ".well-known/"), "/") {
		if part[0] == '.' {
			return false
		}
	}
	return true
}

// takeCompressed has the file be the best one beside it that the client takes.
func (f *found) takeCompressed(ctx *fasthttp.RequestCtx, stat func(string) (fs.FileInfo, error)) {
	if !compressibleType([]byte(typeOf(f.of))) {
		return
	}
	addVary(&ctx.Response.Header, fasthttp.HeaderAcceptEncoding)
	original := f.info
	f.as, _ = negotiate(ctx.Request.Header.PeekAll(fasthttp.HeaderAcceptEncoding), func(c *coding) bool {
		info, err := stat(f.of + c.suffix)
		if err != nil || !info.Mode().IsRegular() || info.ModTime().Before(original.ModTime()) {
			return false
		}
		f.name, f.info = f.of+c.suffix, info
		return true
	})
}

// describe sets the header of a response with a file, and reports whether that is all: it
// has answered by the request's conditions, or that there is no such range. What fasthttp's file
// server would make of these it does not see.
func (st *static) describe(ctx *fasthttp.RequestCtx, f *found) bool {
	h, asked := &ctx.Response.Header, &ctx.Request.Header
	if tag := st.tag(f); len(tag) > 0 {
		h.SetCanonical(headerETag, tag)
	}
	if modified := f.info.ModTime(); !modified.IsZero() {
		h.SetBytesV(fasthttp.HeaderLastModified, fasthttp.AppendHTTPDate(nil, modified))
	}
	if code := precondition(asked, h); code != 0 {
		answerInstead(ctx, code)
		return true
	}
	if contentType := typeOf(f.of); contentType != "" {
		h.SetContentType(contentType)
	}
	if f.as != nil {
		h.SetContentEncoding(f.as.name)
	}
	asked.Del(fasthttp.HeaderIfModifiedSince)
	if ifRange := asked.Peek(fasthttp.HeaderIfRange); len(ifRange) > 0 {
		if !sameVersion(ifRange, h) {
			asked.Del(fasthttp.HeaderRange)
		}
		asked.Del(fasthttp.HeaderIfRange)
	}
	return refuseRange(ctx, f.info.Size())
}

// sameVersion evaluates If-Range: RFC 9110, section 13.1.5.
func sameVersion(ifRange []byte, h *fasthttp.ResponseHeader) bool {
	if ifRange[0] == '"' || ifRange[0] == 'W' {
		return ifRange[0] == '"' && bytes.Equal(ifRange, h.PeekBytes(headerETag))
	}
	return compareDates(ifRange, h.Peek(fasthttp.HeaderLastModified)) == 0
}

// refuseRange answers a request for one range that is not there. All of an empty file
// is sent, though it has no range.
func refuseRange(ctx *fasthttp.RequestCtx, size int64) bool {
	asked := &ctx.Request.Header
	r := asked.Peek(fasthttp.HeaderRange)
	if len(r) == 0 || !bytes.HasPrefix(r, []byte("bytes=")) || bytes.IndexByte(r, ',') >= 0 {
		return false // the file server ignores others, as it may: section 14.2
	}
	if size == 0 {
		asked.Del(fasthttp.HeaderRange)
		return false
	}
	if _, _, err := fasthttp.ParseByteRange(r, int(size)); err == nil {
		return false
	}
	ctx.Error("Range Not Satisfiable", fasthttp.StatusRequestedRangeNotSatisfiable)
	ctx.Response.Header.Set(fasthttp.HeaderContentRange, "bytes */"+strconv.FormatInt(size, 10))
	return true
}

// redirectToDirectory has a client ask again with a slash at the end, so that a page's relative
// links are right.
func redirectToDirectory(ctx *fasthttp.RequestCtx) {
	to := (&url.URL{Path: string(ctx.Path()) + "/"}).EscapedPath()
	if query := ctx.URI().QueryString(); len(query) > 0 {
		to += "?" + string(query)
	}
	ctx.SetStatusCode(fasthttp.StatusMovedPermanently)
	ctx.Response.Header.Set(fasthttp.HeaderLocation, to)
}

// recently is for how long a file may change once more without a change of its time: what
// coarse clocks of file systems have as their step.
const recently = 2 * time.Second

// tag is a file's ETag: of its time and size, weak as long as these say little (RFC 9110,
// section 8.8.1), or of the content where it has no time; nil where that cannot be read.
func (st *static) tag(f *found) []byte {
	modified := f.info.ModTime()
	if modified.IsZero() {
		return st.contentTag(f.name)
	}
	var tag []byte
	if since := time.Since(modified); since < recently {
		tag = append(tag, "W/"...)
	}
	tag = append(tag, '"')
	tag = strconv.AppendInt(tag, modified.UnixNano(), 36)
	tag = append(tag, '-')
	tag = strconv.AppendInt(tag, f.info.Size(), 36)
	if f.as != nil {
		tag = append(append(tag, '-'), f.as.name...)
	}
	return append(tag, '"')
}

func (st *static) contentTag(name string) []byte {
	if tag, ok := st.tags.Load(name); ok {
		return tag.([]byte)
	}
	f, err := st.files.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // it is only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil
	}
	tag := appendTag(nil, sum.Sum(nil))
	st.tags.Store(name, tag)
	return tag
}

// typeOf is the media type of a file's name, "" where it is not known. For those on which pages
// depend, what the machine's tables say does not matter: they are missing in containers, and
// wrong on some Windows.
func typeOf(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t := webTypes[ext]; t != "" {
		return t
	}
	return mime.TypeByExtension(ext)
}

// webTypes are those that the web's standards name, with their names in the IANA registry.
var webTypes = map[string]string{
	".avif": "image/avif", ".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".gif": "image/gif",
	".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8", ".ico": "image/x-icon", ".jpeg": "image/jpeg",
	".jpg": "image/jpeg", ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".map": "application/json",
	".md": "text/markdown; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".mp3": "audio/mpeg", ".mp4": "video/mp4",
	".otf": "font/otf", ".pdf": "application/pdf", ".png": "image/png", ".svg": "image/svg+xml", ".ttf": "font/ttf",
	".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm", ".webm": "video/webm", ".webmanifest": "application/manifest+json",
	".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2", ".xml": "text/xml; charset=utf-8", ".zip": "application/zip",
}
