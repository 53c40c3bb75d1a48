/* OpenCV's core asks for OpenGL's entry points; a program without a screen never calls them. */
void *glXGetProcAddressARB(const unsigned char *name);

void *glXGetProcAddressARB(const unsigned char *name) {
    (void)name;
    return 0;
}
