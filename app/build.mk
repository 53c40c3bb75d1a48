# How the app half is built: the part of the Makefile that a service in another
# language replaces (a Go program would have `go build` here). It says how
# build/$(NAME) and each of $(HELPERS) are made; helpers are installed in
# /usr/lib/$(NAME).

HELPERS := build/stitch

APP_SOURCES := $(shell find app/panorama scripts/handoff -type f -not -name '*.pyc')

build/$(NAME): $(APP_SOURCES) app/requirements.lock packaging/bundle $(wildcard packaging/*.py) build/version | .venv/.ready
	@echo 'builds $@'
	@$(PYTHON) packaging/bundle --name $(NAME) --version '$(VERSION)' --commit '$(COMMIT)' \
	  --entry panorama.cli:main --requirements app/requirements.lock \
	  --source app/panorama --source scripts/handoff --output $@

# Linked statically but for the C and C++ run-time and TBB: a server needs no
# OpenCV. libopencv_imgcodecs is left out on purpose (it would bring GDAL).
STITCH_LIBRARIES := -Wl,-Bstatic -lopencv_stitching -lopencv_calib3d -lopencv_features2d \
  -lopencv_flann -lopencv_imgproc -lopencv_core -ljpeg -lpng -llapack -lblas -lgfortran \
  -lquadmath -lz -Wl,-Bdynamic -ltbb -ldl -lpthread
STITCH_FLAGS := -O2 -Wall -Wextra -Werror -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
  -D_GLIBCXX_ASSERTIONS -ffunction-sections -fdata-sections \
  -ffile-prefix-map="$$PWD"=. -isystem /usr/include/opencv4
STITCH_LINK := -pie -s -Wl,--gc-sections -Wl,-z,relro,-z,now
STITCH_OBJECTS := $(patsubst app/stitch/%,build/objects/%.o,$(wildcard app/stitch/*.cc app/stitch/*.c))

build/stitch: $(STITCH_OBJECTS)
	@echo 'builds $@'
	@$(CXX) $(STITCH_LINK) -o $@ $^ $(STITCH_LIBRARIES)

# The apt packages come with `make setup`, hence the order-only stamp.
build/objects/%.cc.o: app/stitch/%.cc $(wildcard app/stitch/*.h) | .venv/.ready
	@mkdir -p $(@D)
	@echo 'builds $@'
	@$(CXX) -std=c++17 $(STITCH_FLAGS) -c -o $@ $<

build/objects/%.c.o: app/stitch/%.c | .venv/.ready
	@mkdir -p $(@D)
	@echo 'builds $@'
	@$(CC) $(STITCH_FLAGS) -c -o $@ $<
