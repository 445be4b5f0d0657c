def write_demo(folder, config):
    raise NotImplementedError
