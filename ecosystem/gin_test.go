package ecosystem

import (
	"bufio"
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gin-gonic/gin"
)

func ginApp() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) { c.AbortWithStatus(500) }), gin.LoggerWithWriter(io.Discard))
	e.HandleMethodNotAllowed = true
	e.GET("/users/:id", func(c *gin.Context) { c.String(200, "user %s of %s", c.Param("id"), c.ClientIP()) })
	e.Any("/bind", func(c *gin.Context) {
		var p person
		if err := c.ShouldBind(&p); err != nil {
			c.AbortWithStatusJSON(400, gin.H{"error": err.Error()})
			return
		}
		c.JSON(http.StatusCreated, p)
	})
	e.POST("/upload", func(c *gin.Context) {
		h, err := c.FormFile("file")
		if err != nil {
			_ = c.AbortWithError(400, err)
			return
		}
		f, err := h.Open()
		if err != nil {
			_ = c.AbortWithError(400, err)
			return
		}
		defer f.Close()
		c.DataFromReader(200, h.Size, "text/plain", f, nil)
	})
	e.GET("/panic", func(*gin.Context) { panic("oh no") })
	e.GET("/cookie", func(c *gin.Context) {
		c.SetCookie("seen", "yes", 60, "/", "", false, true)
		c.Redirect(http.StatusFound, "/users/1")
	})
	e.GET("/events", func(c *gin.Context) {
		n := 0
		c.Stream(func(io.Writer) bool { // which asks for a CloseNotifier
			if n++; n > 3 {
				<-c.Request.Context().Done()
				return true
			}
			c.SSEvent("", "x")
			return true
		})
	})
	e.StaticFS("/static", http.FS(fstest.MapFS{"a.txt": {Data: []byte("static")}}))
	e.GET("/file", func(c *gin.Context) { c.File("go.mod") })
	e.Group("/admin", gin.BasicAuth(gin.Accounts{"me": "secret"})).GET("", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	return e
}

func TestGin(t *testing.T) {
	t.Parallel()
	each(t, ginApp(), func(s *server) {
		testFramework(s, "/users/7")
		s.want(s.get("/users/7"), 200, "user 7 of 127.0.0.1")
		s.want(s.do("POST", "/bind", `{"age":1}`, "Content-Type", "application/json"), 400, "required")
		s.want(s.get("/static/a.txt"), 200, "static")
		s.want(s.get("/file", "Range", "bytes=0-5"), 206, "module")
		if got := s.get("/users/7/?a=b"); got.StatusCode != 301 || got.Header.Get("Location") != "/users/7?a=b" {
			s.Error(got.StatusCode, got.Header)
		}
	})
}

// testFramework makes the requests that echo's and gin's application both answer.
func testFramework(s *server, user string) {
	s.Helper()
	s.want(s.get(user), 200, "user 7")
	s.want(s.get("/none"), 404, "")
	s.want(s.do("DELETE", user, ""), 405, "")
	for range 2 { // which is the framework's, and not the connection's end
		s.want(s.get("/panic"), 500, "")
	}
	const ada = `{"name":"Ada","age":36}`
	s.want(s.do("POST", "/bind", ada, "Content-Type", "application/json"), 201, ada)
	s.want(s.do("POST", "/bind", "name=Ada&age=36", "Content-Type", "application/x-www-form-urlencoded"), 201, ada)
	s.want(s.get("/bind?name=Ada&age=36"), 201, ada)
	s.want(s.do("POST", "/bind", "{", "Content-Type", "application/json"), 400, "")
	s.want(s.get("/admin"), 401, "")
	s.want(s.get("/admin", "Authorization", "Basic bWU6c2VjcmV0"), 204, "")
	if got := s.get("/cookie"); got.StatusCode != 302 || got.Header.Get("Location") != "/users/1" || len(got.Cookies()) != 1 {
		s.Error(got.StatusCode, got.Header)
	}

	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	w, _ := parts.CreateFormFile("file", "a.txt")
	upload := strings.Repeat("0123456789", 50<<10)
	_, _ = io.WriteString(w, upload)
	_ = parts.Close()
	if got := s.do("POST", "/upload", form.String(), "Content-Type", parts.FormDataContentType()); got.StatusCode != 200 || got.text != upload {
		s.Errorf("%d, %d bytes", got.StatusCode, len(got.text))
	}

	resp, err := s.client.Get(s.url + "/events") //nolint:noctx // the client has a timeout
	if err != nil {
		s.Fatal(err)
	}
	in := bufio.NewScanner(resp.Body)
	for n := 0; n < 3 && in.Scan(); {
		if strings.HasPrefix(in.Text(), "data:") {
			n++
		}
	}
	if err := in.Err(); err != nil {
		s.Error(err)
	}
	_ = resp.Body.Close() // which ends the handler
}
